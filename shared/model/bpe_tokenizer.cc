#include "shared/model/bpe_tokenizer.h"

#include <algorithm>

#include "kernels/error.h"
#include "shared/base/printable.h"

namespace fulmen::model {

void BpeDescription::add(int64_t id, std::string bytes) {
  constexpr int64_t kMaxId = 4'194'303;
  FULMEN_CHECK(id >= 0 && id <= kMaxId,
               where + ": token id: got " + std::to_string(id) + ", want 0 to " + std::to_string(kMaxId));
  const auto at = static_cast<size_t>(id);
  if (at >= tokens.size()) {
    tokens.resize(at + 1);
    known.resize(at + 1);
  }
  FULMEN_CHECK(!known[at] || tokens[at] == bytes,
               where + ": token id " + std::to_string(id) + " is given to two tokens");
  tokens[at] = std::move(bytes);
  known[at] = true;
}

BpeTokenizer::BpeTokenizer(BpeDescription description)
    : d_(std::move(description)), bpe_(d_.byte_ids, d_.merges), pretokenizer_(d_.patterns, d_.where) {
  for (AddedToken& token : d_.added) {
    ids_.emplace(token.text, token.id);
    if (token.normalized && d_.normalize_nfc) token.text = nfc(token.text);
    FULMEN_CHECK(!token.text.empty(), d_.where + ": added_tokens: id " + std::to_string(token.id) + " has no text");
    (token.normalized ? normalized_ : raw_)[static_cast<uint8_t>(token.text[0])].push_back(&token);
  }
  for (Matcher* matcher : {&raw_, &normalized_})
    for (auto& tokens : *matcher)
      std::stable_sort(tokens.begin(), tokens.end(),
                       [](const AddedToken* a, const AddedToken* b) { return a->text.size() > b->text.size(); });
  for (size_t id = 0; id < d_.tokens.size(); ++id)
    if (d_.known[id]) ids_.emplace(d_.tokens[id], static_cast<int32_t>(id));
  if (!d_.eos.empty()) {
    eos_id_ = token_id(d_.eos);
    FULMEN_CHECK(eos_id_ >= 0, d_.where + ": eos token " + base::printable(d_.eos) + " is not in the vocabulary");
  }
}

// Emits the added tokens of `text` and hands the pieces between them to `between`.
template <class F>
void BpeTokenizer::cut(const Matcher& matcher, std::string_view text, std::vector<int32_t>& out, F&& between) {
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    const AddedToken* found = nullptr;
    for (const AddedToken* token : matcher[static_cast<uint8_t>(text[i])])
      if (text.substr(i).starts_with(token->text)) {
        found = token;
        break;
      }
    if (found == nullptr) {
      ++i;
      continue;
    }
    if (i > start) between(text.substr(start, i - start));
    out.push_back(found->id);
    i += found->text.size();
    start = i;
  }
  if (start < text.size()) between(text.substr(start));
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  cut(raw_, text, ids, [&](std::string_view piece) {
    const std::string composed = d_.normalize_nfc ? nfc(piece) : std::string();
    cut(normalized_, d_.normalize_nfc ? std::string_view(composed) : piece, ids,
        [&](std::string_view plain) { encode_plain(plain, ids); });
  });
  return ids;
}

void BpeTokenizer::encode_plain(std::string_view text, std::vector<int32_t>& out) const {
  pretokenizer_.split(text, [&](std::string_view word) {
    if (d_.ignore_merges) {
      auto it = ids_.find(word);
      if (it != ids_.end()) {
        out.push_back(it->second);
        return;
      }
    }
    bpe_.encode_word(word, out);
  });
}

std::string BpeTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (int32_t id : ids) {
    FULMEN_CHECK(id >= 0 && static_cast<size_t>(id) < d_.tokens.size() && d_.known[static_cast<size_t>(id)],
                 "decode: no token has id " + std::to_string(id) + " in " + d_.where);
    text += d_.tokens[static_cast<size_t>(id)];
  }
  return text;
}

int32_t BpeTokenizer::token_id(std::string_view token) const {
  auto it = ids_.find(token);
  return it == ids_.end() ? -1 : it->second;
}

std::string BpeTokenizer::describe() const {
  return "byte-level BPE " + d_.where + ": " + std::to_string(std::count(d_.known.begin(), d_.known.end(), true)) +
         " tokens, vocabulary " + std::to_string(vocab_size()) + ", " + std::to_string(d_.merges.size()) + " merges, " +
         std::to_string(d_.added.size()) + " added, eos " +
         (eos_id_ < 0 ? "none" : d_.eos + " (" + std::to_string(eos_id_) + ")");
}

}  // namespace fulmen::model
