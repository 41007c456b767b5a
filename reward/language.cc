#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "kernels/error.h"
#include "reward/functions.h"
#include "shared/base/config.h"

namespace fulmen::reward {
namespace {

enum Script { kNone, kLatin, kHan, kKana, kHangul, kCyrillic, kArabic, kDevanagari, kGreek, kHebrew, kThai, kScripts };

struct Range {
  uint32_t first, last;
  Script script;
};
constexpr Range kRanges[] = {
    {'A', 'Z', kLatin},          {'a', 'z', kLatin},       {0xC0, 0x24F, kLatin},     {0x370, 0x3FF, kGreek},
    {0x400, 0x52F, kCyrillic},   {0x590, 0x5FF, kHebrew},  {0x600, 0x6FF, kArabic},   {0x750, 0x77F, kArabic},
    {0x900, 0x97F, kDevanagari}, {0xE00, 0xE7F, kThai},    {0x1100, 0x11FF, kHangul}, {0x1E00, 0x1EFF, kLatin},
    {0x3040, 0x30FF, kKana},     {0x3400, 0x4DBF, kHan},   {0x4E00, 0x9FFF, kHan},    {0xAC00, 0xD7AF, kHangul},
    {0xF900, 0xFAFF, kHan},      {0x20000, 0x2FA1F, kHan},
};

Script script_of(uint32_t c) {
  if (c == 0xD7 || c == 0xF7) return kNone;  // times and divided by
  for (const Range& r : kRanges)
    if (c >= r.first && c <= r.last) return r.script;
  return kNone;
}

struct Language {
  const char* code;
  std::array<Script, 2> scripts;
};
constexpr Language kLanguages[] = {
    {"en", {kLatin, kLatin}},   {"de", {kLatin, kLatin}},       {"fr", {kLatin, kLatin}},
    {"es", {kLatin, kLatin}},   {"it", {kLatin, kLatin}},       {"pt", {kLatin, kLatin}},
    {"nl", {kLatin, kLatin}},   {"pl", {kLatin, kLatin}},       {"tr", {kLatin, kLatin}},
    {"vi", {kLatin, kLatin}},   {"zh", {kHan, kHan}},           {"ja", {kKana, kHan}},
    {"ko", {kHangul, kHangul}}, {"ru", {kCyrillic, kCyrillic}}, {"uk", {kCyrillic, kCyrillic}},
    {"ar", {kArabic, kArabic}}, {"fa", {kArabic, kArabic}},     {"hi", {kDevanagari, kDevanagari}},
    {"el", {kGreek, kGreek}},   {"he", {kHebrew, kHebrew}},     {"th", {kThai, kThai}},
};

// The next character; a byte that is no UTF-8 is one character without a script.
uint32_t decode(std::string_view text, size_t& i) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
  const uint32_t first = byte(i++);
  int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
  if (more == 0) return first < 0x80 ? first : 0xFFFD;
  uint32_t c = first & (0x3F >> more);
  for (; more > 0 && i < text.size() && (byte(i) & 0xC0) == 0x80; --more) c = c << 6 | (byte(i++) & 0x3F);
  return more == 0 ? c : 0xFFFD;
}

// Letters by script, without what has no language: LaTeX between dollars, \commands, code between backquotes.
std::array<int64_t, kScripts> count_letters(std::string_view text) {
  std::array<int64_t, kScripts> count{};
  bool code = false, maths = false;
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i, 3) == "```") {
      code = !code;
      i += 3;
    } else if (text[i] == '$') {
      maths = !maths;
      ++i;
    } else if (text[i] == '\\') {
      for (++i; i < text.size() && script_of(static_cast<unsigned char>(text[i])) == kLatin; ++i) {
      }
    } else {
      if (text[i] == '\n' && maths && i + 1 < text.size() && text[i + 1] == '\n') maths = false;  // a lone dollar
      const Script script = script_of(decode(text, i));
      if (!code && !maths) ++count[script];
    }
  }
  count[kNone] = 0;
  return count;
}

int64_t total(const std::array<int64_t, kScripts>& count) {
  int64_t n = 0;
  for (const int64_t c : count) n += c;
  return n;
}

class LanguageShare : public Function {
 public:
  explicit LanguageShare(const std::string& want) : version_("language-1/" + want) {
    std::vector<std::string> known{"prompt"};
    for (const Language& l : kLanguages) {
      known.push_back(l.code);
      if (want == l.code) language_ = &l;
    }
    FULMEN_CHECK(language_ != nullptr || want == "prompt",
                 fmt::format("language: got want={}, want prompt or one of {}", want,
                             fmt::join(known.begin() + 1, known.end(), " ")));
  }

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_reasoning() const override { return true; }
  bool wants_truth() const override { return false; }

  Verdict score(const Record& r) override {
    const auto wanted = scripts_wanted(r);
    const auto count = count_letters(r.response);
    const int64_t all = total(count);
    if (all == 0 || wanted[0] == kNone) return make_verdict(Kind::kScore, 1, "");  // nothing to judge by
    int64_t right = count[wanted[0]];
    if (wanted[1] != wanted[0]) right += count[wanted[1]];
    const double share = static_cast<double>(right) / static_cast<double>(all);
    return make_verdict(Kind::kScore, share, share < 1 ? fmt::format("{} of {} letters", right, all) : "");
  }

 private:
  std::array<Script, 2> scripts_wanted(const Record& r) const {
    if (language_ != nullptr) return language_->scripts;
    const auto count = count_letters(r.prompt);
    if (total(count) == 0) return {kNone, kNone};
    if (count[kKana] > 0) return {kKana, kHan};
    const auto most = static_cast<Script>(std::max_element(count.begin(), count.end()) - count.begin());
    return {most, most};
  }

  const Language* language_ = nullptr;  // nullptr: the prompt's
  std::string name_ = "language", version_;
};

}  // namespace

std::unique_ptr<Function> make_language(const std::string& want) { return std::make_unique<LanguageShare>(want); }

}  // namespace fulmen::reward
