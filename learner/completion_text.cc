#include "learner/conductor.h"

namespace fulmen::learner {
namespace {

size_t utf8_sequence(const std::string& s, size_t i) {  // length of the valid sequence at i, 0 when there is none
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(s[k]); };
  const unsigned char c = byte(i);
  const size_t n = c < 0x80                  ? 1
                   : (c >= 0xC2 && c < 0xE0) ? 2
                   : (c & 0xF0) == 0xE0      ? 3
                   : (c >= 0xF0 && c < 0xF5) ? 4
                                             : 0;
  if (n == 0 || i + n > s.size()) return 0;
  for (size_t k = 1; k < n; ++k)
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
  if (n == 3 && ((c == 0xE0 && byte(i + 1) < 0xA0) || (c == 0xED && byte(i + 1) >= 0xA0))) return 0;
  if (n == 4 && ((c == 0xF0 && byte(i + 1) < 0x90) || (c == 0xF4 && byte(i + 1) >= 0x90))) return 0;
  return n;
}

}  // namespace

std::string completion_text(const model::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::vector<int32_t> kept;
  for (const int32_t id : ids)
    if (id != tokenizer.eos_id() && id < tokenizer.vocab_size()) kept.push_back(id);
  const std::string raw = tokenizer.decode(kept);
  std::string text;
  for (size_t i = 0; i < raw.size();) {
    const size_t n = utf8_sequence(raw, i);
    if (n == 0)
      text += "\xEF\xBF\xBD", ++i;
    else
      text += raw.substr(i, n), i += n;
  }
  return text;
}

}  // namespace fulmen::learner
