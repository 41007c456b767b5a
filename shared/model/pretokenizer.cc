#include "shared/model/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "kernels/error.h"
#include "shared/base/printable.h"

namespace fulmen::model {

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

// Tokenizer files are written for Oniguruma. White space there is Unicode's, PCRE2's \s has U+180E too, so it is
// spelled out; what means something else in PCRE2 is refused.
std::string in_our_dialect(const std::string& pattern, const std::string& where) {
  const std::string space = R"(\t-\r\x{85}\p{Z})";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    const bool foreign = (c == '\\' && (next == 'h' || next == 'H' || (next == 'S' && in_class))) ||
                         (in_class ? c == '[' || (c == '&' && next == '&') : c == '^' || c == '$');
    FULMEN_CHECK(!foreign, where + ": regular expression: not supported at " + std::to_string(i) + " of " +
                               base::printable(pattern));
    if (c == '\\' && next != '\0') {
      ++i;
      if (next == 's')
        out += in_class ? space : "[" + space + "]";
      else if (next == 'S')
        out += "[^" + space + "]";
      else
        out += {c, next};
      continue;
    }
    out += c;
    if (c == '[' && next == '^') out += pattern[++i];
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
  }
  return out;
}

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[256];
  if (pcre2_get_error_message(code, text, sizeof text) < 0) return "error " + std::to_string(code);
  return reinterpret_cast<const char*>(text);
}

struct FreeMatch {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};

}  // namespace

struct Pretokenizer::Pattern {
  pcre2_code* code = nullptr;
  pcre2_match_context* limits = nullptr;

  Pattern(const std::string& pattern, const std::string& where) {
    const std::string text = in_our_dialect(pattern, where);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_UCP, &error, &offset,
                         nullptr);
    FULMEN_CHECK(code != nullptr, where + ": regular expression: " + pcre2_message(error) + " at " +
                                      std::to_string(offset) + " of " + base::printable(text));
    // Without JIT (some hardened kernels forbid it) matching is slower and gives the same result.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    limits = pcre2_match_context_create(nullptr);
    pcre2_set_match_limit(limits, UINT32_MAX);  // a word of many megabytes is legal
    pcre2_set_depth_limit(limits, UINT32_MAX);
    pcre2_set_heap_limit(limits, 1u << 20);  // KiB
  }
  ~Pattern() {
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
  }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  // True and [begin, end) of the first non-empty match at or after `from`.
  bool match(std::string_view text, size_t from, pcre2_match_data* data, size_t& begin, size_t& end) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const uint32_t options = PCRE2_NOTEMPTY | PCRE2_NO_UTF_CHECK;  // split() has checked
    int rc = pcre2_match(code, subject, text.size(), from, options, data, limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(code, subject, text.size(), from, options | PCRE2_NO_JIT, data, limits);
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    FULMEN_CHECK(rc >= 0,
                 "pre-tokenizer: " + pcre2_message(rc) + " in a text of " + std::to_string(text.size()) + " bytes");
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data);
    begin = ends[0];
    end = ends[1];
    return end > begin;
  }
};

Pretokenizer::Pretokenizer(const std::vector<std::string>& patterns, const std::string& where) {
  for (const std::string& p : patterns) patterns_.push_back(std::make_unique<Pattern>(p, where));
}

Pretokenizer::~Pretokenizer() = default;

void Pretokenizer::split(std::string_view text, const std::function<void(std::string_view)>& word) const {
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    if (valid > 0) split_from(0, text.substr(0, valid), word);
    size_t invalid = valid;
    while (invalid < text.size() && valid_utf8_prefix(text.substr(invalid, 4)) == 0) ++invalid;
    if (invalid > valid) word(text.substr(valid, invalid - valid));
    text.remove_prefix(invalid);
  }
}

void Pretokenizer::split_from(size_t pattern, std::string_view text,
                              const std::function<void(std::string_view)>& word) const {
  if (pattern == patterns_.size()) return word(text);
  const std::unique_ptr<pcre2_match_data, FreeMatch> data(pcre2_match_data_create(1, nullptr));
  size_t at = 0, begin = 0, end = 0;
  while (at < text.size() && patterns_[pattern]->match(text, at, data.get(), begin, end)) {
    if (begin > at) split_from(pattern + 1, text.substr(at, begin - at), word);
    split_from(pattern + 1, text.substr(begin, end - begin), word);
    at = end;
  }
  if (at < text.size()) split_from(pattern + 1, text.substr(at), word);
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (static_cast<uint8_t>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    utf8proc_int32_t c = 0;
    const auto left = static_cast<utf8proc_ssize_t>(std::min<size_t>(text.size() - i, 4));
    const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + i, left, &c);
    if (length <= 0) break;
    i += static_cast<size_t>(length);
  }
  return i;
}

std::string nfc(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; }))
    return std::string(text);
  std::string out;
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    if (valid > 0) {
      utf8proc_uint8_t* composed = nullptr;
      const auto length =
          utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(valid),
                       &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
      const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
      FULMEN_CHECK(length >= 0, std::string("NFC: ") + utf8proc_errmsg(length));
      out.append(reinterpret_cast<const char*>(composed), static_cast<size_t>(length));
    }
    if (valid < text.size()) out += text[valid];
    text.remove_prefix(std::min(valid + 1, text.size()));
  }
  return out;
}

}  // namespace fulmen::model
