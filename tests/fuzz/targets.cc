#include "tests/fuzz/targets.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/model/bpe_tokenizer.h"
#include "shared/model/model_config.h"
#include "shared/model/safetensors.h"
#include "shared/task/answer.h"
#include "shared/task/records.h"

namespace fulmen::fuzz {
namespace {

void promise(bool kept, const std::string& what) {
  if (!kept) throw std::logic_error("broken promise: " + what);
}

template <class F>
bool accepted(F&& read) {
  try {
    read();
    return true;
  } catch (const Error& e) {
    const std::string message = e.what();
    promise(message.find('\n') == std::string::npos, "an error is one line: " + message);
    promise(message.size() < 4000, "an error is short: " + message.substr(0, 200));
    return false;
  }
}

// The bytes as a file without touching a disk.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    promise(fd_ >= 0 && ::write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "memfd works");
  }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

std::string safetensors_seed() {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b.weight":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"F16","shape":[],"data_offsets":[32,34]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  return bytes + header + std::string(34, '?');
}

std::string tokenizer_seed(bool split) {
  const model::ByteAlphabet alphabet;
  nlohmann::ordered_json vocab = nlohmann::ordered_json::object();
  for (size_t i = 0; i < 256; ++i) vocab[alphabet.spelled[alphabet.order[i]]] = i;
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  vocab["<end>"] = 258;
  const nlohmann::ordered_json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", !split}};
  const nlohmann::ordered_json regex = {{"type", "Split"},
                                        {"pattern", {{"Regex", R"(\p{N}{1,3}| ?[^\s\p{N}]+|\s+(?!\S)|\s+)"}}},
                                        {"behavior", "Isolated"}};
  const nlohmann::ordered_json sequence = {{"type", "Sequence"}, {"pretokenizers", {regex, byte_level}}};
  nlohmann::ordered_json file = {{"added_tokens", {{{"id", 258}, {"content", "<end>"}, {"special", true}}}},
                                 {"normalizer", nullptr},
                                 {"pre_tokenizer", split ? sequence : byte_level},
                                 {"decoder", {{"type", "ByteLevel"}}},
                                 {"model", {{"type", "BPE"}, {"merges", {"a b", "ab c"}}, {"vocab", vocab}}}};
  if (split) file["normalizer"] = {{"type", "NFC"}};
  return file.dump();
}

}  // namespace

bool read_safetensors(std::string_view bytes) {
  const MemoryFile memory(bytes);
  return accepted([&] {
    const model::SafetensorsFile file(memory.path());
    size_t total = 0;
    for (const model::StoredTensor& t : file.tensors()) {
      const auto stored = file.bytes(t);
      total += stored.size();
      std::vector<float> values(stored.size() / model::dtype_bytes(t.dtype));
      model::decode_values(t.dtype, stored.data(), values.size(), values.data());
      promise(file.find(t.name) == &t, "a tensor is found by its name");
    }
    promise(total < bytes.size(), "tensors lie inside the file");
  });
}

bool read_tokenizer_json(std::string_view bytes) {
  return accepted([&] {
    auto description = model::parse_tokenizer_json(std::string(bytes), "tokenizer.json");
    const bool composes = description.normalize_nfc;
    const model::BpeTokenizer tokenizer(std::move(description));
    const std::string text = "abcab 1234 <end>  x\xcc\x81\xff\n\n<en";
    const auto ids = tokenizer.encode(text);
    for (int32_t id : ids) promise(id >= 0 && id < tokenizer.vocab_size(), "ids lie in the vocabulary");
    if (!composes) promise(tokenizer.decode(ids) == text, "decode gives the text back");
  });
}

bool read_config_json(std::string_view bytes) {
  return accepted([&] {
    const model::ModelConfig c = model::parse_model_config(std::string(bytes), "config.json");
    const model::ModelCounts counts = model::count_model(c);
    if (counts.tensors < 20000)
      promise(static_cast<int64_t>(model::tensor_specs(c).size()) == counts.tensors, "counts match the tensors");
    const model::ModelConfig back = model::parse_model_config(model::model_config_json(c), "exported");
    promise(model::count_model(back).parameters == counts.parameters, "the export is the same model");
    promise(back.attn_type == c.attn_type && back.alpha_mlp == c.alpha_mlp && back.rope_theta == c.rope_theta,
            "the export has the same values");
  });
}

bool read_task_record(std::string_view bytes) {
  const task::LineVerdict v = task::verify_line(std::string(bytes), "fulmen");
  promise(nlohmann::json::accept(v.json), "a verdict is JSON");
  promise((v.kind == task::LineVerdict::kRight) == v.why.empty(), "a verdict that is not right says why");
  task::verify_line(std::string(bytes), "synlogic");
  return v.kind == task::LineVerdict::kRight;
}

bool read_task_answer(std::string_view bytes) {
  static const auto puzzles = [] {
    std::vector<std::pair<const task::Task*, task::Problem>> all;
    for (const task::Task* t : task::all_tasks()) all.emplace_back(t, task::make_problem(*t, {1, false, 0, 3, 3}));
    return all;
  }();
  if (bytes.empty()) return false;
  const auto& [t, p] = puzzles[static_cast<unsigned char>(bytes[0]) % puzzles.size()];
  const auto c = task::check_response(*t, {p.puzzle, p.answer}, bytes.substr(1));
  promise((c.finding == task::Finding::kRight) == c.why.empty(), "an answer that is not right is told why");
  t->verify({p.puzzle, p.answer}, bytes.substr(1, task::kMaxAnswer));
  return c.finding == task::Finding::kRight;
}

namespace {

std::vector<std::string> record_seeds() {
  std::vector<std::string> seeds;
  for (const task::Task* t : task::all_tasks()) {
    const task::Draw draw{1, false, 0, 3, 3};
    task::Problem p = task::make_problem(*t, draw);
    p.prompt.clear(), p.worked.clear();
    seeds.push_back(task::to_record(*t, draw, p).dump());
  }
  return seeds;
}

std::vector<std::string> answer_seeds() {  // the first byte chooses the kind
  std::vector<std::string> seeds;
  for (const task::Task* t : task::all_tasks()) {
    const char kind = static_cast<char>(seeds.size());
    seeds.push_back(kind + task::completion_of(*t, task::make_problem(*t, {1, false, 0, 3, 3}).answer));
  }
  return seeds;
}

}  // namespace

std::vector<Target> all_targets() {
  const std::string m1 = base::read_file(std::string(FULMEN_SOURCE_DIR) + "/configs/m1/config.json");
  const std::string native =
      R"({"architectures":["MiniMaxForCausalLM"],"num_hidden_layers":3,"layer_types":["linear_attention","full_attention",)"
      R"("linear_attention"],"rope_parameters":{"rope_theta":1e6,"rope_type":"default"},"mlp_alpha_factor":2.5})";
  return {{"safetensors", read_safetensors, {safetensors_seed()}},
          {"tokenizer_json", read_tokenizer_json, {tokenizer_seed(false), tokenizer_seed(true)}},
          {"config_json", read_config_json, {m1, native}},
          {"task_record", read_task_record, record_seeds()},
          {"task_answer", read_task_answer, answer_seeds()}};
}

}  // namespace fulmen::fuzz
