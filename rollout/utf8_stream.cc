#include "rollout/utf8_stream.h"

#include <cstdint>

namespace fulmen::rollout {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

struct Lead {
  size_t bytes = 0;                 // of the character that begins with it; 0: none does
  uint8_t low = 0x80, high = 0xBF;  // range of the second byte: excludes overlong forms, surrogates, above U+10FFFF
};

Lead lead_of(uint8_t c) {
  if (c < 0x80) return {1};
  if (c < 0xC2) return {};
  if (c < 0xE0) return {2};
  if (c < 0xF0)
    return {3, static_cast<uint8_t>(c == 0xE0 ? 0xA0 : 0x80), static_cast<uint8_t>(c == 0xED ? 0x9F : 0xBF)};
  if (c < 0xF5)
    return {4, static_cast<uint8_t>(c == 0xF0 ? 0x90 : 0x80), static_cast<uint8_t>(c == 0xF4 ? 0x8F : 0xBF)};
  return {};
}

// How many bytes at the beginning of s belong to one character: whole, or cut off by the end of s.
size_t matching_bytes(std::string_view s, const Lead& lead) {
  size_t n = 1;
  for (; n < lead.bytes && n < s.size(); ++n) {
    const auto c = static_cast<uint8_t>(s[n]);
    if (n == 1 ? (c < lead.low || c > lead.high) : (c < 0x80 || c > 0xBF)) break;
  }
  return n;
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  std::string shown;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Lead lead = lead_of(static_cast<uint8_t>(rest[0]));
    const size_t n = matching_bytes(rest, lead);
    if (n == lead.bytes) {
      shown += rest.substr(0, n);
    } else if (lead.bytes != 0 && n == rest.size()) {
      break;  // the next token may complete it
    } else {
      shown += kReplacement;
    }
    rest.remove_prefix(n);
  }
  held_ = std::string(rest);
  return shown;
}

std::string Utf8Stream::flush() {
  const bool cut = !held_.empty();
  held_.clear();
  return cut ? kReplacement : "";
}

}  // namespace fulmen::rollout
