#include "tests/fuzz/targets.h"

#include <cstdint>
#include <nlohmann/json.hpp>

#include "shared/base/file.h"
#include "shared/model/bpe_tokenizer.h"
#include "shared/model/model_config.h"
#include "shared/model/safetensors.h"
#include "tests/fuzz/memory_file.h"

namespace fulmen::fuzz {
namespace {

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

std::vector<Target> file_targets() {
  const std::string m1 = base::read_file(std::string(FULMEN_SOURCE_DIR) + "/configs/m1/config.json");
  const std::string native =
      R"({"architectures":["MiniMaxForCausalLM"],"num_hidden_layers":3,"layer_types":["linear_attention","full_attention",)"
      R"("linear_attention"],"rope_parameters":{"rope_theta":1e6,"rope_type":"default"},"mlp_alpha_factor":2.5})";
  return {{"safetensors", read_safetensors, {safetensors_seed()}},
          {"tokenizer_json", read_tokenizer_json, {tokenizer_seed(false), tokenizer_seed(true)}},
          {"config_json", read_config_json, {m1, native}}};
}

}  // namespace fulmen::fuzz
