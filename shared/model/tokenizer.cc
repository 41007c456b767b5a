#include "shared/model/tokenizer.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/model/bpe_tokenizer.h"

namespace fulmen::model {
namespace {

namespace fs = std::filesystem;

class ByteTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      int32_t id = static_cast<uint8_t>(text[0]);
      size_t length = 1;
      for (int32_t s = 0; s < 3 && text[0] == '<'; ++s)
        if (text.starts_with(kSpecial[s])) {
          id = 256 + s;
          length = kSpecial[s].size();
        }
      ids.push_back(id);
      text.remove_prefix(length);
    }
    return ids;
  }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (int32_t id : ids) {
      FULMEN_CHECK(id >= 0 && id < 259, "decode: no token has id " + std::to_string(id) + " in the byte tokenizer");
      if (id < 256)
        text.push_back(static_cast<char>(id));
      else
        text += kSpecial[id - 256];
    }
    return text;
  }

  int32_t token_id(std::string_view token) const override {
    const auto ids = encode(token);
    return ids.size() == 1 ? ids[0] : -1;
  }
  int64_t vocab_size() const override { return 259; }
  int32_t eos_id() const override { return 257; }
  std::string describe() const override { return "byte tokenizer: 256 bytes, <bos> 256, <eos> 257, <pad> 258"; }

  static constexpr std::string_view kSpecial[3] = {"<bos>", "<eos>", "<pad>"};
};

// eos_token of a tokenizer_config.json: a string, or an object with content. "" if it names none.
std::string configured_eos(const std::string& path) {
  const auto config = nlohmann::json::parse(base::read_file(path), nullptr, false);
  FULMEN_CHECK(config.is_object(), path + ": not a JSON object");
  auto eos = config.find("eos_token");
  if (eos == config.end() || eos->is_null()) return "";
  if (eos->is_object() && eos->contains("content")) eos = eos->find("content");
  FULMEN_CHECK(eos->is_string(), path + ": eos_token: want a string or an object with content");
  return eos->get<std::string>();
}

}  // namespace

std::map<std::string, std::string> byte_tokenizer_files() {
  using Json = nlohmann::ordered_json;
  const ByteAlphabet alphabet;
  Json vocab = Json::object(), added = Json::array(), decoder = Json::object();
  for (size_t b = 0; b < 256; ++b) vocab[alphabet.spelled[b]] = b;
  for (size_t s = 0; s < 3; ++s) {
    Json token{{"content", ByteTokenizer::kSpecial[s]},
               {"single_word", false},
               {"lstrip", false},
               {"rstrip", false},
               {"normalized", false},
               {"special", true}};
    decoder[std::to_string(256 + s)] = token;
    token["id"] = 256 + s;
    added.push_back(token);
  }
  const Json level{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const Json tokenizer{{"version", "1.0"},
                       {"truncation", nullptr},
                       {"padding", nullptr},
                       {"added_tokens", added},
                       {"normalizer", nullptr},
                       {"pre_tokenizer", level},
                       {"post_processor", nullptr},
                       {"decoder", level},
                       {"model",
                        {{"type", "BPE"},
                         {"dropout", nullptr},
                         {"unk_token", nullptr},
                         {"continuing_subword_prefix", nullptr},
                         {"end_of_word_suffix", nullptr},
                         {"fuse_unk", false},
                         {"byte_fallback", false},
                         {"vocab", vocab},
                         {"merges", Json::array()}}}};
  const Json config{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"bos_token", ByteTokenizer::kSpecial[0]},
                    {"eos_token", ByteTokenizer::kSpecial[1]},      {"pad_token", ByteTokenizer::kSpecial[2]},
                    {"clean_up_tokenization_spaces", false},        {"added_tokens_decoder", decoder}};
  return {{"tokenizer.json", tokenizer.dump(1) + "\n"}, {"tokenizer_config.json", config.dump(1) + "\n"}};
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& spec) {
  if (spec == "byte") return std::make_unique<ByteTokenizer>();
  const std::string m1 = "m1:";
  if (spec.starts_with(m1)) {
    const std::string path = spec.substr(m1.size());
    return std::make_unique<BpeTokenizer>(parse_m1_merges(base::read_file(path), path));
  }
  FULMEN_CHECK(fs::exists(spec), "tokenizer: got " + spec +
                                     ", which does not exist; want byte, a tokenizer.json, a directory with one, or "
                                     "m1:MERGES_TXT");
  const std::string path = fs::is_directory(spec) ? spec + "/tokenizer.json" : spec;
  BpeDescription description = parse_tokenizer_json(base::read_file(path), path);
  const fs::path config = fs::path(path).parent_path() / "tokenizer_config.json";
  if (fs::exists(config)) {
    const std::string eos = configured_eos(config.string());
    if (!eos.empty()) description.eos = eos;
  }
  return std::make_unique<BpeTokenizer>(std::move(description));
}

}  // namespace fulmen::model
