#include "reward/math/choice.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace fulmen::reward::math {
namespace {

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

// LaTeX dress that says nothing here, as blanks of the same length: braces, dollars, \text, \textbf, \mathrm, spaces.
std::string undressed(std::string_view text) {
  static constexpr std::array<std::string_view, 9> kDress{"\\textbf", "\\textrm", "\\textit", "\\text", "\\mathbf",
                                                          "\\mathrm", "\\mbox",   "\\quad",   "\\qquad"};
  std::string out(text);
  for (size_t i = 0; i < out.size(); i++) {
    size_t length = std::string_view("{}$*~\t\r\n").find(out[i]) != std::string_view::npos ? 1 : 0;
    if (out[i] == '\\') {
      for (std::string_view word : kDress) {
        const bool whole = text.substr(i, word.size()) == word &&
                           (i + word.size() == text.size() || !is_letter(text[i + word.size()]));
        if (whole) length = word.size();
      }
      if (length == 0 && i + 1 < out.size() && std::string_view(" ,;!:").find(out[i + 1]) != std::string_view::npos)
        length = 2;
    }
    std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(i), length, ' ');
  }
  return out;
}

void skip_spaces(std::string_view s, size_t& at) {
  while (at < s.size() && s[at] == ' ') at++;
}

bool skip_word(std::string_view s, size_t& at, std::string_view word) {
  if (s.size() - at <= word.size()) return false;
  for (size_t i = 0; i < word.size(); i++) {
    if (std::tolower(static_cast<unsigned char>(s[at + i])) != word[i]) return false;
  }
  if (is_letter(s[at + word.size()])) return false;
  at += word.size();
  skip_spaces(s, at);
  return true;
}

bool is_choice_letter(char c) { return c >= 'A' && c <= 'J'; }

// Another letter set off like a choice, or a word that joins one.
bool names_another(std::string_view plain) {
  size_t at = 0;
  skip_spaces(plain, at);
  for (std::string_view word : {"or", "and"}) {
    size_t behind = at;
    if (skip_word(plain, behind, word)) return true;
  }
  for (size_t i = 0; i < plain.size(); i++) {
    if (!is_choice_letter(plain[i])) continue;
    const char before = i > 0 ? plain[i - 1] : ' ', after = i + 1 < plain.size() ? plain[i + 1] : ' ';
    const bool alone = !is_letter(before) && before != '\\' && !is_letter(after);
    if (alone && (before == '(' || before == ',' || after == ')' || after == '.' || after == ',')) return true;
  }
  return false;
}

}  // namespace

std::optional<Choice> read_choice(std::string_view text) {
  constexpr size_t kMaxText = 400;
  if (text.size() > kMaxText) return std::nullopt;
  const std::string plain = undressed(text);
  size_t at = 0;
  skip_spaces(plain, at);
  for (std::string_view word : {"the", "correct", "answer", "option", "choice", "is"}) skip_word(plain, at, word);
  const bool bracket = at < plain.size() && plain[at] == '(';
  if (bracket) skip_spaces(plain, ++at);
  if (at >= plain.size() || !is_choice_letter(plain[at])) return std::nullopt;
  Choice choice{plain[at], ""};
  skip_spaces(plain, ++at);
  bool set_off = bracket;
  if (bracket && (at >= plain.size() || plain[at] != ')')) return std::nullopt;
  if (at < plain.size() && std::string_view(").:").find(plain[at]) != std::string_view::npos) {
    set_off = true;
    at++;
  }
  skip_spaces(plain, at);
  if (at < plain.size() && plain[at] == '.') skip_spaces(plain, ++at);
  if (at == plain.size()) return choice;
  if (!set_off || plain[at - 1] != ' ' || names_another(std::string_view(plain).substr(at))) return std::nullopt;
  choice.rest = std::string(text.substr(at));
  // A brace that closes what was opened in front of the letter.
  if (std::count(choice.rest.begin(), choice.rest.end(), '}') > std::count(choice.rest.begin(), choice.rest.end(), '{'))
    choice.rest.erase(choice.rest.find('}'), 1);
  return choice;
}

namespace {

// Reads backwards over the set in "k \in \mathbb{Z}": its first character, or npos.
size_t integers_begin(std::string_view s) {
  static constexpr std::array<std::string_view, 12> kSets{"\\mathbb{Z}",  "\\mathbb{N}",  "\\mathbb Z", "\\mathbb N",
                                                          "\\mathbf{Z}",  "\\mathbf{N}",  "\\Bbb{Z}",   "\\Z",
                                                          "\xe2\x84\xa4", "\xe2\x84\x95", "Z",          "N"};
  static constexpr std::array<std::string_view, 12> kMarks{"^*",     "^{*}",     "_+", "_{+}", "^+",        "^{+}",
                                                           "^\\ast", "^{\\ast}", "*",  "+",    "_{\\ge 0}", "_{>0}"};
  for (std::string_view mark : kMarks) {
    if (s.ends_with(mark)) {
      s.remove_suffix(mark.size());
      break;
    }
  }
  for (std::string_view set : kSets) {
    if (s.ends_with(set)) return s.size() - set.size();
  }
  return std::string_view::npos;
}

void trim_end(std::string_view& s, std::string_view what) {
  while (!s.empty() && what.find(s.back()) != std::string_view::npos) s.remove_suffix(1);
}

bool has_name(std::string_view s, char name) {
  for (size_t i = s.find(name); i != std::string_view::npos; i = s.find(name, i + 1)) {
    if ((i == 0 || !is_letter(s[i - 1])) || (i + 1 == s.size() || !is_letter(s[i + 1]))) return true;
  }
  return false;
}

}  // namespace

Parameter without_domain(std::string_view text) {
  const Parameter as_it_is{std::string(text), ""};
  std::string_view s = text;
  trim_end(s, " $.\n");
  const bool bracket = s.ends_with(')');
  if (bracket) s.remove_suffix(1);
  trim_end(s, " $");
  const size_t set = integers_begin(s);
  if (set == std::string_view::npos) return as_it_is;
  s = s.substr(0, set);
  trim_end(s, " ");
  bool member = false;
  for (std::string_view in : {"\\in", "\xe2\x88\x88", " in"}) {
    if (member || !s.ends_with(in)) continue;
    s.remove_suffix(in.size());
    member = true;
  }
  trim_end(s, " ");
  if (!member || s.size() < 2 || !is_letter(s.back())) return as_it_is;
  const char name = s.back();
  s.remove_suffix(1);
  trim_end(s, " $");
  bool apart = false;
  for (std::string_view start : {"\\left(", "(", "\\text{where}", "\\text{for}", "\\quad", "\\qquad", ",", ";"}) {
    if (!s.ends_with(start)) continue;
    s.remove_suffix(start.size());
    apart = true;
    break;
  }
  trim_end(s, " $,;\\");
  if (!apart || s.empty() || !has_name(s, name)) return as_it_is;
  return {std::string(s), std::string(1, name)};
}

}  // namespace fulmen::reward::math
