#include "shared/model/checkpoint_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/model/checkpoint_reader.h"
#include "shared/model/safetensors.h"

namespace fulmen::model {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const char* const kDigests = "/model.safetensors.digests.json";
constexpr size_t kPiece = size_t{1} << 22;  // values converted at a time: 16 MiB of fp32

struct Shard {
  std::string file;
  std::vector<size_t> specs;
};

struct Tensors {
  std::vector<TensorSpec> specs;
  std::vector<StoredDType> dtypes;
  int64_t bytes(size_t i) const { return specs[i].numel() * static_cast<int64_t>(dtype_bytes(dtypes[i])); }
};

// Tensors in their order, a new shard when the next one would make it too large; numbered from 00000 as M1's are.
std::vector<Shard> plan_shards(const Tensors& tensors, int64_t shard_bytes) {
  std::vector<Shard> shards;
  int64_t used = 0;
  for (size_t i = 0; i < tensors.specs.size(); ++i) {
    const int64_t bytes = tensors.bytes(i);
    if (shards.empty() || used + bytes > shard_bytes) {
      shards.push_back({});
      used = 0;
    }
    shards.back().specs.push_back(i);
    used += bytes;
  }
  for (size_t n = 0; n < shards.size(); ++n) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", n, shards.size());
    shards[n].file = name;
  }
  return shards;
}

// The digests of the pieces as written; reading back must give the same.
std::vector<base::Digest> write_shard(const std::string& path, const Shard& shard, const Tensors& tensors,
                                      const TensorSource& source) {
  std::vector<StoredTensor> stored;
  for (size_t i : shard.specs)
    stored.push_back({tensors.specs[i].name, tensors.dtypes[i], tensors.specs[i].shape, 0, 0});
  SafetensorsWriter writer(path, stored);
  size_t piece = 0;
  for (size_t i : shard.specs) piece = std::max(piece, std::min(kPiece, static_cast<size_t>(tensors.specs[i].numel())));
  std::vector<float> values(piece);
  std::vector<uint8_t> bytes(piece * 4);
  std::vector<base::Digest> digests;
  for (size_t i : shard.specs) {
    const auto total = static_cast<size_t>(tensors.specs[i].numel());
    const size_t width = dtype_bytes(tensors.dtypes[i]);
    for (size_t at = 0; at < total; at += kPiece) {
      const size_t n = std::min(kPiece, total - at);
      source(i, static_cast<int64_t>(at), {values.data(), n});
      encode_values(tensors.dtypes[i], values.data(), n, bytes.data());
      digests.push_back(base::digest128(bytes.data(), n * width));
      writer.append(bytes.data(), n * width);
    }
  }
  writer.commit();
  return digests;
}

// Reads a shard back; adds the digest of each tensor to `digests`.
void verify_shard(const std::string& path, const Shard& shard, const Tensors& tensors,
                  const std::vector<base::Digest>& written, Json& digests) {
  const SafetensorsFile file(path);
  size_t piece = 0;
  for (size_t i : shard.specs) {
    const StoredTensor* t = file.find(tensors.specs[i].name);
    FULMEN_CHECK(t != nullptr && t->shape == tensors.specs[i].shape && t->dtype == tensors.dtypes[i],
                 path + ": tensor " + tensors.specs[i].name + " does not read back as it was written");
    const auto bytes = file.bytes(*t);
    const size_t step = kPiece * dtype_bytes(t->dtype);
    for (size_t at = 0; at < bytes.size(); at += step)
      FULMEN_CHECK(base::digest128(bytes.data() + at, std::min(step, bytes.size() - at)) == written[piece++],
                   path + ": tensor " + t->name + ": the bytes read back differ from those written");
    digests[t->name] = base::hex(base::digest128(bytes.data(), bytes.size()));
  }
}

bool belongs_to_tokenizer(const std::string& name) {
  for (const char* known : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                            "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json"})
    if (name == known) return true;
  // The remote code that config.json's auto_map names.
  return name.ends_with(".py") && (name.starts_with("configuration_") || name.starts_with("modeling_"));
}

void copy_tokenizer(const std::string& from, const std::string& to) {
  if (from.empty()) return;
  if (!fs::is_directory(from)) {
    base::write_file_atomic(to + "/tokenizer.json", base::read_file(from));
    return;
  }
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (belongs_to_tokenizer(name)) base::write_file_atomic(to + "/" + name, base::read_file(entry.path().string()));
  }
}

// A directory that is removed again unless it took its final place.
class Beside {
 public:
  explicit Beside(const std::string& dir) : dir_(dir), tmp_(dir + ".tmp." + std::to_string(::getpid())) {
    FULMEN_CHECK(!fs::exists(dir_) || fs::is_directory(dir_), dir_ + ": not replaced: it is not a directory");
    FULMEN_CHECK(!fs::exists(dir_) || fs::is_empty(dir_) || fs::exists(dir_ + "/config.json"),
                 dir_ + ": not replaced: it is not empty and holds no config.json");
    base::remove_all(tmp_);
    base::make_directories(tmp_);
  }
  ~Beside() {
    std::error_code ignored;  // already unwinding; the first error is the one to report
    fs::remove_all(tmp_, ignored);
  }
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;
  const std::string& path() const { return tmp_; }

  // Old and new change places in one step where the file system can; the old one, then at tmp_, goes with this object.
  void commit() {
    const bool exchanged =
        fs::exists(dir_) && ::renameat2(AT_FDCWD, tmp_.c_str(), AT_FDCWD, dir_.c_str(), RENAME_EXCHANGE) == 0;
    const std::string old = dir_ + ".old." + std::to_string(::getpid());
    if (!exchanged) {
      if (fs::exists(dir_)) move(dir_, old);
      move(tmp_, dir_);
    }
    sync(fs::path(dir_).parent_path().string());
    if (!exchanged) base::remove_all(old);
  }

 private:
  static void move(const std::string& from, const std::string& to) {
    FULMEN_CHECK(std::rename(from.c_str(), to.c_str()) == 0,
                 to + ": cannot rename from " + from + ": " + std::strerror(errno));
  }
  static void sync(const std::string& parent) {
    const int fd = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = fd >= 0 && (::fsync(fd) == 0 || errno == EINVAL);  // EINVAL: a file system without it
    const int code = errno;
    if (fd >= 0) ::close(fd);
    FULMEN_CHECK(synced, parent + ": cannot sync: " + std::strerror(code));
  }

  std::string dir_, tmp_;
};

std::string without_slash(const std::string& dir) {
  std::string path = fs::absolute(dir).lexically_normal().string();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

void write_checkpoint(const std::string& dir, const ModelConfig& config, const TensorSource& source,
                      const CheckpointLayout& layout, const CheckpointProgress& progress) {
  Tensors tensors{tensor_specs(config), {}};
  const StoredDType wide = layout.dtype == FileDType::kF32 ? StoredDType::kF32 : StoredDType::kBf16;
  for (const TensorSpec& spec : tensors.specs) tensors.dtypes.push_back(spec.fp32_on_disk ? StoredDType::kF32 : wide);
  Beside beside(without_slash(dir));
  Json weight_map = Json::object(), digests = Json::object();
  int64_t total_size = 0, done = 0;
  const auto total = static_cast<int64_t>(tensors.specs.size());
  for (const Shard& shard : plan_shards(tensors, layout.shard_bytes)) {
    const std::string path = beside.path() + "/" + shard.file;
    const auto written = write_shard(path, shard, tensors, source);
    verify_shard(path, shard, tensors, written, digests);
    for (size_t i : shard.specs) {
      weight_map[tensors.specs[i].name] = shard.file;
      total_size += tensors.bytes(i);
      if (progress.on_tensor) progress.on_tensor(++done, total, tensors.specs[i].name);
    }
  }
  const Json index = {{"weight_map", weight_map}, {"metadata", {{"total_size", total_size}}}};
  base::write_file_atomic(beside.path() + "/model.safetensors.index.json", index.dump(2) + "\n");
  base::write_file_atomic(beside.path() + kDigests,
                          Json{{"algorithm", "XXH3-128"}, {"tensors", digests}}.dump(1) + "\n");
  copy_tokenizer(layout.tokenizer_dir, beside.path());
  for (const auto& [name, bytes] : layout.more_files) base::write_file_atomic(beside.path() + "/" + name, bytes);
  base::write_file_atomic(beside.path() + "/config.json", model_config_json(config));
  const CheckpointReader complete(beside.path(), load_model_config(beside.path()));  // throws if anything is missing
  beside.commit();
}

void copy_checkpoint(const std::string& from, const std::string& to, FileDType dtype,
                     const CheckpointProgress& progress) {
  const std::string path = weights_directory(from);
  const ModelConfig config = load_model_config(path);
  const CheckpointReader reader(path, config);
  const auto source = [&](size_t i, int64_t first, std::span<float> out) { reader.read(i, first, out); };
  write_checkpoint(to, config, source, {dtype, path}, progress);
}

FileDType lossless_dtype(const std::string& dir) {
  const std::string path = weights_directory(dir);
  const CheckpointReader reader(path, load_model_config(path));
  for (size_t i = 0; i < reader.specs().size(); ++i)
    if (!reader.specs()[i].fp32_on_disk && reader.dtype(i) != StoredDType::kBf16) return FileDType::kF32;
  return FileDType::kBf16;
}

bool verify_digests(const std::string& dir, const CheckpointProgress& progress) {
  const std::string path = dir + kDigests;
  if (!fs::exists(path)) return false;
  const Json file = Json::parse(base::read_file(path), nullptr, false);
  FULMEN_CHECK(file.is_object() && file.contains("tensors") && file["tensors"].is_object(),
               path + ": want an object with tensors");
  const Json& digests = file["tensors"];
  const CheckpointReader reader(dir, load_model_config(dir));
  const auto total = static_cast<int64_t>(reader.specs().size());
  for (size_t i = 0; i < reader.specs().size(); ++i) {
    const std::string& name = reader.specs()[i].name;
    FULMEN_CHECK(digests.contains(name), path + ": no digest of tensor " + name);
    const auto bytes = reader.stored_bytes(i);
    const std::string got = base::hex(base::digest128(bytes.data(), bytes.size()));
    FULMEN_CHECK(digests[name] == got,
                 reader.file(i) + ": tensor " + name + ": digest: got " + got + ", want " + digests[name].dump());
    if (progress.on_tensor) progress.on_tensor(static_cast<int64_t>(i) + 1, total, name);
  }
  return true;
}

}  // namespace fulmen::model
