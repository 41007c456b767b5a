#pragma once
// A byte-level BPE tokenizer as its files describe it, and what makes it run. parse_tokenizer_json and parse_m1_merges
// only read; BpeTokenizer does the work. Special tokens that a post-processor would add (a leading BOS) are not added:
// the chat template writes them.

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "shared/model/bpe.h"
#include "shared/model/pretokenizer.h"
#include "shared/model/tokenizer.h"

namespace fulmen::model {

// Recognised in the text before any word is cut. normalized: looked for after normalisation, and after the others.
struct AddedToken {
  std::string text;
  int32_t id = 0;
  bool special = false, normalized = false;
};

struct BpeDescription {
  std::string where;                    // file, for messages
  std::vector<std::string> tokens;      // the bytes of each id
  std::vector<bool> known;              // false: no token has this id
  std::array<int32_t, 256> byte_ids{};  // the token of each single byte
  std::vector<Merge> merges;
  std::vector<AddedToken> added;
  std::vector<std::string> patterns;
  bool normalize_nfc = false;
  bool ignore_merges = false;  // a word that is a token as a whole is not merged
  std::string eos;             // "" = none

  void add(int64_t id, std::string bytes);  // throws if the id is out of range or taken by other bytes
};

// tokenizer.json of Hugging Face: model BPE with byte alphabet; normalizer none or NFC; pre-tokenizer ByteLevel, Split
// with a regular expression, or a Sequence of them. Anything else throws Error naming `where`, the field and its value.
BpeDescription parse_tokenizer_json(const std::string& text, const std::string& where);

// merges.txt of M1, whose ids follow from it: 256 bytes, merges in order, special tokens from 200,000 (facts/m1_spec
// 7).
BpeDescription parse_m1_merges(const std::string& text, const std::string& where);

class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(BpeDescription description);
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  int32_t token_id(std::string_view token) const override;  // an added token, else a token of these bytes
  int64_t vocab_size() const override { return static_cast<int64_t>(d_.tokens.size()); }
  int32_t eos_id() const override { return eos_id_; }
  std::string describe() const override;

 private:
  // Added tokens by first byte, longest first.
  using Matcher = std::array<std::vector<const AddedToken*>, 256>;
  template <class F>
  static void cut(const Matcher& matcher, std::string_view text, std::vector<int32_t>& out, F&& between);
  void encode_plain(std::string_view text, std::vector<int32_t>& out) const;

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  BpeDescription d_;
  Bpe bpe_;
  Pretokenizer pretokenizer_;
  Matcher raw_, normalized_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;  // by bytes; added tokens by text
  int32_t eos_id_ = -1;
};

}  // namespace fulmen::model
