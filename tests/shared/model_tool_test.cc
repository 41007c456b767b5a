// The program fulmen-model as a user calls it.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "shared/base/file.h"
#include "shared/model/checkpoint_reader.h"
#include "shared/model/checkpoint_writer.h"

namespace fulmen::model {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const std::string kRoot = FULMEN_SOURCE_DIR;
const std::string kTokenizer = kRoot + "/tests/golden/tokenizer/gpt2_trimmed.json";

struct Outcome {
  int code = -1;
  std::string out, err;
};

class ModelTool : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "fulmen_tool_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  Outcome run(const std::string& arguments, const std::string& input = "") const {
    base::write_file_atomic(dir_ + "/in", input);
    const std::string command =
        std::string(FULMEN_MODEL_TOOL) + " " + arguments + " <" + dir_ + "/in >" + dir_ + "/out 2>" + dir_ + "/err";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, base::read_file(dir_ + "/out"),
            base::read_file(dir_ + "/err")};
  }

  void fails_in_one_line(const std::string& arguments, const std::string& input, const std::string& part) const {
    const Outcome o = run(arguments, input);
    EXPECT_EQ(o.code, 1) << arguments;
    EXPECT_EQ(o.out, "") << arguments;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
    EXPECT_NE(o.err.find(part), std::string::npos) << o.err;
  }

  std::string small_checkpoint(FileDType dtype) const {
    Json j = Json::parse(base::read_file(kRoot + "/configs/m1/config.json"));
    const std::pair<const char*, Json> small[] = {
        {"hidden_size", 8},         {"intermediate_size", 8},   {"num_hidden_layers", 2}, {"attn_type_list", {0, 1}},
        {"num_attention_heads", 2}, {"num_key_value_heads", 1}, {"head_dim", 4},          {"rotary_dim", 2},
        {"num_local_experts", 2},   {"vocab_size", 16}};
    for (const auto& [key, value] : small) j[key] = value;
    const auto source = [](size_t i, int64_t first, std::span<float> out) {
      for (size_t k = 0; k < out.size(); ++k)
        out[k] = static_cast<float>(i) + 0.5f * static_cast<float>((first + static_cast<int64_t>(k)) % 4);
    };
    write_checkpoint(dir_ + "/model", parse_model_config(j.dump(), "small"), source, {dtype, kTokenizer, 2000});
    return dir_ + "/model";
  }

  std::string dir_;
};

TEST_F(ModelTool, InspectCountsM1) {
  for (const char* path : {"/configs/m1", "/configs/m1/config.json"}) {
    const Outcome o = run("inspect " + kRoot + path);
    EXPECT_EQ(o.code, 0) << o.err;
    for (const char* part :
         {"8,243", "456,089,655,296", "912,210,767,872", "45,944,920,064", "70 lightning, 10 softmax",
          "2,560  model.layers.{L}.block_sparse_moe.experts.{E}.w1.weight  [9216, 6144]"})
      EXPECT_NE(o.out.find(part), std::string::npos) << part;
  }
  const Outcome all = run("inspect --tensors " + kRoot + "/configs/m1");
  EXPECT_NE(all.out.find("model.layers.79.block_sparse_moe.experts.31.w3.weight"), std::string::npos);
}

TEST_F(ModelTool, InspectChecksTheWeights) {
  const std::string path = small_checkpoint(FileDType::kBf16);
  const Outcome good = run("inspect " + path);
  EXPECT_EQ(good.code, 0) << good.err;
  EXPECT_NE(good.out.find("every tensor's bytes match their digest"), std::string::npos) << good.out;
  const std::string shard = CheckpointReader(path, load_model_config(path)).file(3);
  std::string bytes = base::read_file(shard);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  base::write_file_atomic(shard, bytes);
  fails_in_one_line("inspect " + path, "", shard);
  EXPECT_EQ(run("inspect --no-digests " + path).code, 0);
  fs::remove(shard);
  fails_in_one_line("inspect " + path, "", "missing shard");
}

TEST_F(ModelTool, ExportOfAnImportHasEqualBytes) {
  for (FileDType dtype : {FileDType::kBf16, FileDType::kF32}) {
    const std::string from = small_checkpoint(dtype);
    ASSERT_EQ(run("import " + from + " " + dir_ + "/imported").code, 0);
    ASSERT_EQ(run("export --dtype " + std::string(dtype == FileDType::kF32 ? "f32 " : "bf16 ") + dir_ + "/imported " +
                  dir_ + "/exported")
                  .code,
              0);
    for (const auto& entry : fs::directory_iterator(from)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".safetensors") || name.ends_with("index.json")) continue;  // other shard sizes
      EXPECT_EQ(base::read_file(entry.path().string()), base::read_file(dir_ + "/exported/" + name)) << name;
    }
  }
  fs::create_directories(dir_ + "/step_7");
  fs::copy(dir_ + "/exported", dir_ + "/step_7/model");  // as a run's checkpoint has it
  EXPECT_EQ(run("inspect " + dir_ + "/step_7").code, 0);
  EXPECT_EQ(run("export " + dir_ + "/step_7 " + dir_ + "/from_run").code, 0);
  const std::string narrow = dir_ + "/exported";
  EXPECT_EQ(run("export " + narrow + " " + narrow).code, 0) << "in place";
  fails_in_one_line("export " + dir_ + "/nowhere " + dir_ + "/x", "", "nowhere");
  EXPECT_EQ(run("export --dtype f16 a b").code, 2);
}

TEST_F(ModelTool, TokenizeThereAndBack) {
  const std::string text = "Hello, world!\n\xff<|endoftext|>";
  const Outcome ids = run("tokenize --tokenizer " + kTokenizer, text);
  EXPECT_EQ(ids.code, 0) << ids.err;
  EXPECT_EQ(Json::parse(ids.out).back(), 50256);
  EXPECT_EQ(run("tokenize --decode --tokenizer " + kTokenizer, ids.out).out, text);
  EXPECT_EQ(run("tokenize --tokenizer byte", "a<eos>").out, "[97,257]\n");
  fails_in_one_line("tokenize --decode --tokenizer byte", "[1, \"a\"]", "JSON list");
  fails_in_one_line("tokenize --decode --tokenizer byte", "[99999999999]", "JSON list");
  fails_in_one_line("tokenize --decode --tokenizer byte", "[259]", "259");
  fails_in_one_line("tokenize --tokenizer " + kRoot + "/LICENSE", "", "not JSON");
}

TEST_F(ModelTool, Gsm8kBecomesRecords) {
  const std::string in = dir_ + "/in.jsonl", out = dir_ + "/out.jsonl";
  base::write_file_atomic(
      in,
      "{\"question\": \"Q?\", \"answer\": \"so\\n#### -1,234.5\"}\n\n{\"question\": \"R\", \"answer\": \"#### 7\"}");
  const Outcome o = run("convert gsm8k --split test " + in + " " + out);
  EXPECT_EQ(o.code, 0) << o.err;
  const std::string text = base::read_file(out);
  const Json first = Json::parse(text.substr(0, text.find('\n')));
  EXPECT_EQ(first["reward_model"], (Json{{"style", "rule"}, {"ground_truth", "-1234.5"}}));
  EXPECT_EQ(first["prompt"][0]["content"], "Q? Let's think step by step and output the final answer after \"####\".");
  EXPECT_EQ(first["data_source"], "openai/gsm8k");
  EXPECT_EQ(first["extra_info"]["split"], "test");
  EXPECT_EQ(Json::parse(text.substr(text.find('\n')))["extra_info"]["index"], 1);
  const std::pair<const char*, const char*> bad[] = {
      {"{\"question\": \"Q\"}", ":2: answer"},
      {"{\"question\": 1, \"answer\": \"#### 1\"}", ":2: question"},
      {"{\"question\": \"Q\", \"answer\": \"1\"}", ":2: answer: no number"},
      {"{\"question\": \"Q\", \"answer\": \"#### x\"}", ":2: answer: no number"},
      {"[]", ":2: got array"},
      {"{", ":2: not JSON"}};
  fs::remove(out);
  for (const auto& [line, part] : bad) {
    base::write_file_atomic(in, std::string("{\"question\": \"Q\", \"answer\": \"#### 1\"}\n") + line + "\n");
    fails_in_one_line("convert gsm8k " + in + " " + out, "", in + part);
    EXPECT_FALSE(fs::exists(out));
  }
}

TEST_F(ModelTool, UsageErrorsAreTwoAndHelpIsZero) {
  EXPECT_EQ(run("").code, 2);
  EXPECT_EQ(run("bogus").code, 2);
  EXPECT_EQ(run("inspect").code, 2);
  for (const char* verb : {"", "inspect ", "import ", "export ", "tokenize ", "convert "}) {
    const Outcome o = run(std::string(verb) + "--help");
    EXPECT_EQ(o.code, 0) << verb;
    EXPECT_NE(o.out.find("Usage"), std::string::npos) << o.out;
  }
}

}  // namespace
}  // namespace fulmen::model
