#include <gtest/gtest.h>
#include <sys/resource.h>

#include <bit>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "shared/model/checkpoint.h"
#include "shared/model/checkpoint_reader.h"

namespace fulmen::model {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Every key of M1's config.json, with small dimensions: 3 layers (lightning, softmax, lightning), 3 experts.
ModelConfig small_config(bool shared = false, bool tied = false) {
  Json j = Json::parse(base::read_file(std::string(FULMEN_SOURCE_DIR) + "/configs/m1/config.json"));
  j["hidden_size"] = 12;
  j["intermediate_size"] = 10;
  j["num_hidden_layers"] = 3;
  j["attn_type_list"] = {0, 1, 0};
  j["num_attention_heads"] = 4;
  j["num_key_value_heads"] = 2;
  j["head_dim"] = 6;
  j["rotary_dim"] = 4;
  j["num_local_experts"] = 3;
  j["vocab_size"] = 31;
  if (shared) j["shared_intermediate_size"] = 8;
  j["tie_word_embeddings"] = tied;
  return parse_model_config(j.dump(2), "small");
}

// A value that bf16 holds exactly, different for every place.
float value_at(size_t tensor, int64_t place) {
  const uint64_t mixed = (tensor * 1000003 + static_cast<uint64_t>(place)) * 0x9E3779B97F4A7C15ull;
  const uint32_t bits = 0x3c000000u + (static_cast<uint32_t>(mixed >> 40) & 0x80ff0000u);
  return std::bit_cast<float>(bits);
}

void fill(size_t i, int64_t first, std::span<float> out) {
  for (size_t k = 0; k < out.size(); ++k) out[k] = value_at(i, first + static_cast<int64_t>(k));
}

class Checkpoint : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "fulmen_checkpoint_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string dir(const std::string& name) const { return root_ + "/" + name; }

  std::string write(const std::string& name, const ModelConfig& config, FileDType dtype = FileDType::kBf16,
                    int64_t shard_bytes = 4096) const {
    write_checkpoint(dir(name), config, fill, {dtype, "", shard_bytes});
    return dir(name);
  }

  std::string error_of(const std::string& path, const ModelConfig& config) const {
    try {
      CheckpointReader reader(path, config);
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
      return e.what();
    }
    return "";
  }

  std::string root_;
};

std::string shard_of(const std::string& dir, const std::string& tensor) {
  return dir + "/" +
         Json::parse(base::read_file(dir + "/model.safetensors.index.json"))["weight_map"][tensor].get<std::string>();
}

// All tensors of a directory in one model.safetensors, renamed or dropped by `rename` (empty result: dropped).
template <class F>
void write_single(const std::string& from, const std::string& to, const ModelConfig& config, F rename) {
  const CheckpointReader reader(from, config);
  std::vector<StoredTensor> tensors;
  std::string bytes;
  for (size_t i = 0; i < reader.specs().size(); ++i) {
    const std::string name = rename(reader.specs()[i].name);
    if (name.empty()) continue;
    tensors.push_back({name, reader.dtype(i), reader.specs()[i].shape, 0, 0});
    const auto part = reader.stored_bytes(i);
    bytes.append(part.begin(), part.end());
  }
  fs::create_directories(to);
  base::write_file_atomic(to + "/config.json", base::read_file(from + "/config.json"));
  SafetensorsWriter writer(to + "/model.safetensors", tensors);
  writer.append(bytes.data(), bytes.size());
  writer.commit();
}

TEST_F(Checkpoint, EveryTensorAndKeyOfM1ReadsBack) {
  for (const ModelConfig& config : {small_config(), small_config(true), small_config(false, true)}) {
    const std::string path = write("out", config);
    const ModelConfig back = load_model_config(path);
    EXPECT_EQ(back.raw_json, config.raw_json);
    const CheckpointReader reader(path, back);
    EXPECT_GT(reader.files().size(), 3u);
    for (size_t i = 0; i < reader.specs().size(); ++i) {
      EXPECT_EQ(reader.dtype(i), reader.specs()[i].fp32_on_disk ? StoredDType::kF32 : StoredDType::kBf16);
      std::vector<float> values(static_cast<size_t>(reader.specs()[i].numel()));
      reader.read(i, 0, values);
      for (size_t k = 0; k < values.size(); ++k)
        ASSERT_EQ(values[k], value_at(i, static_cast<int64_t>(k))) << reader.specs()[i].name;
    }
    const Json index = Json::parse(base::read_file(path + "/model.safetensors.index.json"));
    EXPECT_EQ(index["metadata"]["total_size"], count_model(config).bytes);
    EXPECT_EQ(index["weight_map"]["model.embed_tokens.weight"].get<std::string>().rfind("model-00000-of-", 0), 0u);
    EXPECT_TRUE(verify_digests(path));
  }
}

TEST_F(Checkpoint, ImportThenExportGivesEqualBytes) {
  const ModelConfig config = small_config();
  for (FileDType dtype : {FileDType::kBf16, FileDType::kF32}) {
    const std::string first = write("first", config, dtype, 100000);
    EXPECT_EQ(lossless_dtype(first), dtype);
    Weights weights(config, kernels::DType::kF32);
    load_checkpoint(first, weights);
    save_checkpoint(dir("second"), weights, dtype, first, 3000);
    const CheckpointReader a(first, config), b(dir("second"), config);
    for (size_t i = 0; i < a.specs().size(); ++i) {
      const auto x = a.stored_bytes(i), y = b.stored_bytes(i);
      ASSERT_EQ(x.size(), y.size());
      EXPECT_EQ(std::memcmp(x.data(), y.data(), x.size()), 0) << a.specs()[i].name;
    }
    EXPECT_EQ(base::read_file(first + "/config.json"), base::read_file(dir("second") + "/config.json"));
  }
}

TEST_F(Checkpoint, SingleFileAndStackedExpertsOfTransformersAreRead) {
  const ModelConfig config = small_config();
  const std::string from = write("from", config);
  write_single(from, dir("single"), config, [](const std::string& name) { return name; });
  EXPECT_EQ(error_of(dir("single"), config), "");

  // Stack the experts by hand: gate_up_proj (E, 2F, C) with w1 above w3, down_proj (E, C, F).
  const CheckpointReader reader(from, config);
  std::vector<StoredTensor> tensors;
  std::string bytes;
  auto add = [&](const std::string& name, const std::vector<int64_t>& shape, std::vector<std::string> parts) {
    StoredDType dtype = StoredDType::kBf16;
    for (const std::string& part : parts)
      for (size_t i = 0; i < reader.specs().size(); ++i)
        if (reader.specs()[i].name == part) {
          bytes.append(reader.stored_bytes(i).begin(), reader.stored_bytes(i).end());
          dtype = reader.dtype(i);
        }
    tensors.push_back({name, dtype, shape, 0, 0});
  };
  for (const TensorSpec& s : reader.specs()) {
    if (s.name.find(".experts.") != std::string::npos) continue;
    std::string name = s.name;
    if (size_t at = name.find("block_sparse_moe"); at != std::string::npos) name.replace(at, 16, "mlp");
    add(name, s.shape, {s.name});
  }
  for (int l = 0; l < 3; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    std::vector<std::string> gate_up, down;
    for (int e = 0; e < 3; ++e) {
      const std::string expert = layer + "block_sparse_moe.experts." + std::to_string(e);
      gate_up.insert(gate_up.end(), {expert + ".w1.weight", expert + ".w3.weight"});
      down.push_back(expert + ".w2.weight");
    }
    add(layer + "mlp.experts.gate_up_proj", {3, 20, 12}, gate_up);
    add(layer + "mlp.experts.down_proj", {3, 12, 10}, down);
    bytes.append(8, '\0');
    tensors.push_back({layer + "self_attn.slope_rate", StoredDType::kF32, {2}, 0, 0});
  }
  fs::create_directories(dir("native"));
  SafetensorsWriter writer(dir("native") + "/model.safetensors", tensors);
  writer.append(bytes.data(), bytes.size());
  writer.commit();
  const CheckpointReader native(dir("native"), config);
  EXPECT_EQ(native.skipped().size(), 3u);
  for (size_t i = 0; i < reader.specs().size(); ++i) {
    const auto x = reader.stored_bytes(i), y = native.stored_bytes(i);
    ASSERT_EQ(x.size(), y.size()) << reader.specs()[i].name;
    EXPECT_EQ(std::memcmp(x.data(), y.data(), x.size()), 0) << reader.specs()[i].name;
  }
}

TEST_F(Checkpoint, BrokenDirectoriesAreNamedInOneLine) {
  const ModelConfig config = small_config();
  const std::string path = write("model", config);
  const std::string qkv = "model.layers.2.self_attn.qkv_proj.weight", shard = shard_of(path, qkv);
  auto expect = [&](const std::string& directory, const ModelConfig& c, std::vector<std::string> parts) {
    const std::string message = error_of(directory, c);
    for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect(dir("nothing"), config, {"nothing", "no weights"});

  ModelConfig wider = config, deeper = config, fewer = config;
  wider.head_dim = 8;
  expect(path, wider, {"model-0", "model.layers.0.self_attn.qkv_proj.weight", "got [72, 12], want [96, 12]"});
  deeper.num_layers = 4;
  deeper.attn_type.push_back(1);
  expect(path, deeper, {"index.json", "missing tensor model.layers.3.input_layernorm.weight"});
  fewer.num_experts = 2;
  expect(path, fewer, {"model-0", "block_sparse_moe.gate.weight"});

  const std::string bytes = base::read_file(shard);
  base::write_file_atomic(shard, bytes.substr(0, bytes.size() - 1));
  expect(path, config, {shard, "truncated"});
  fs::remove(shard);
  expect(path, config, {shard, "missing shard"});
  base::write_file_atomic(shard, bytes);

  const std::string index_path = path + "/model.safetensors.index.json";
  Json index = Json::parse(base::read_file(index_path));
  const Json good = index;
  index["weight_map"][qkv] = index["weight_map"]["model.embed_tokens.weight"];
  base::write_file_atomic(index_path, index.dump());
  expect(path, config, {"model-00000", "missing tensor " + qkv});
  index = good;
  index["weight_map"]["model.layers.0.extra.weight"] = index["weight_map"][qkv];
  base::write_file_atomic(index_path, index.dump());
  expect(path, config, {"missing tensor model.layers.0.extra.weight"});
  index["weight_map"] = {{"a", "../x"}};
  base::write_file_atomic(index_path, index.dump());
  expect(path, config, {index_path, "../x"});
  base::write_file_atomic(index_path, "{\"weight_map\": ");
  expect(path, config, {index_path, "not JSON"});

  write_single(write("again", config), dir("extra"), config,
               [&](const std::string& name) { return name == qkv ? "model.layers.2.self_attn.wqkv.weight" : name; });
  expect(dir("extra"), config, {"missing tensor " + qkv});
}

TEST_F(Checkpoint, OneFlippedBitIsFoundByItsDigest) {
  const std::string path = write("model", small_config());
  const std::string shard = shard_of(path, "lm_head.weight");
  std::string bytes = base::read_file(shard);
  bytes[bytes.size() - 5] ^= 1;
  base::write_file_atomic(shard, bytes);
  try {
    verify_digests(path);
    FAIL() << "a flipped bit went unnoticed";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(shard), std::string::npos) << e.what();
  }
  fs::remove(path + "/model.safetensors.digests.json");
  EXPECT_FALSE(verify_digests(path));
}

TEST_F(Checkpoint, FullDiskLeavesTheOldDirectoryIntact) {
  const ModelConfig config = small_config();
  const std::string path = write("model", config), before = base::read_file(path + "/model.safetensors.index.json");
  struct rlimit old {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit tight { 3000, old.rlim_max };
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  std::string message;
  try {
    write_checkpoint(path, config, [](size_t, int64_t, std::span<float>) {}, {FileDType::kF32, "", 1 << 20});
  } catch (const Error& e) {
    message = e.what();
  }
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find(path), std::string::npos) << message;
  EXPECT_NE(message.find("write"), std::string::npos) << message;
  EXPECT_EQ(base::read_file(path + "/model.safetensors.index.json"), before);
  EXPECT_TRUE(verify_digests(path));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), {}), 1) << "something was left beside";
}

TEST_F(Checkpoint, OnlyCheckpointsAreReplaced) {
  const ModelConfig config = small_config();
  fs::create_directories(dir("home"));
  base::write_file_atomic(dir("home") + "/letter", "dear");
  EXPECT_THROW(write("home", config), Error);
  EXPECT_TRUE(fs::exists(dir("home") + "/letter"));
  base::write_file_atomic(dir("file"), "x");
  EXPECT_THROW(write("file", config), Error);
  write("model", config);
  base::write_file_atomic(dir("model") + "/stale", "x");
  write_checkpoint(dir("model") + "/", config, fill, {FileDType::kF32, ""});
  EXPECT_FALSE(fs::exists(dir("model") + "/stale"));
  EXPECT_EQ(CheckpointReader(dir("model"), config).dtype(0), StoredDType::kF32);
}

TEST_F(Checkpoint, TokenizerFilesTravel) {
  const ModelConfig config = small_config();
  fs::create_directories(dir("t"));
  for (const char* name : {"tokenizer.json", "merges.txt", "modeling_minimax_m1.py", "optimizer.bin"})
    base::write_file_atomic(dir("t") + "/" + name, name);
  write_checkpoint(dir("model"), config, fill, {FileDType::kBf16, dir("t")});
  EXPECT_EQ(base::read_file(dir("model") + "/merges.txt"), "merges.txt");
  EXPECT_TRUE(fs::exists(dir("model") + "/modeling_minimax_m1.py"));
  EXPECT_FALSE(fs::exists(dir("model") + "/optimizer.bin"));
  copy_checkpoint(dir("model"), dir("copy"), FileDType::kBf16);
  EXPECT_EQ(base::read_file(dir("copy") + "/tokenizer.json"), "tokenizer.json");
}

}  // namespace
}  // namespace fulmen::model
