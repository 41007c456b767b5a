#include "reward/math/answer_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace fulmen::reward::math {
namespace {

constexpr std::string_view kThink = "<think>", kEndThink = "</think>";
constexpr size_t kMaxBetween = 48;  // characters between two answers that are one last word

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.front()))) s.remove_prefix(1);
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back()))) s.remove_suffix(1);
  return s;
}

// Boxes by one pass with a stack of open braces.
void find_boxes(std::string_view text, std::vector<FoundAnswer>& found) {
  constexpr size_t kPlain = static_cast<size_t>(-1);
  struct Open {
    size_t box;    // where \boxed begins, or kPlain
    size_t inner;  // first character behind the brace
  };
  std::vector<Open> open;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\') {
      size_t length = 0;
      for (std::string_view name : {std::string_view("\\boxed"), std::string_view("\\fbox")}) {
        if (text.substr(i, name.size()) == name) length = name.size();
      }
      size_t brace = i + length;
      while (length > 0 && brace < text.size() && (text[brace] == ' ' || text[brace] == '\n')) brace++;
      if (length > 0 && brace < text.size() && text[brace] == '{') {
        open.push_back({i, brace + 1});
        i = brace;
      } else if (text.substr(i + 1, 6) != "\\boxed") {  // escaped once too often: \\boxed
        i++;                                            // \{ and \} are not braces
      }
    } else if (text[i] == '{') {
      open.push_back({kPlain, i + 1});
    } else if (text[i] == '}' && !open.empty()) {
      Open o = open.back();
      open.pop_back();
      if (o.box == kPlain) continue;
      while (!found.empty() && found.back().begin > o.box) found.pop_back();  // boxes inside this one
      found.push_back({o.box, i + 1, trimmed(text.substr(o.inner, i - o.inner))});
    }
  }
}

// B, (B): a choice.
bool is_lone_letter(std::string_view s) {
  if (s.size() == 3 && s[0] == '(' && s[2] == ')') s = s.substr(1, 1);
  return s.size() == 1 && is_letter(s[0]);
}

void find_hashes(std::string_view text, std::vector<FoundAnswer>& found) {
  size_t line_end = 0;  // looked up once a line, so that many marks on one line stay cheap
  for (size_t at = text.find("####"); at != std::string_view::npos;) {
    size_t after = std::min(text.find_first_not_of('#', at), text.size());
    if (after >= line_end) line_end = std::min(text.find_first_of("\r\n", after), text.size());
    size_t next = text.find("####", after);
    if (after - at == 4) {
      size_t end = std::min(next, line_end);
      std::string_view answer = trimmed(text.substr(after, end - after));
      bool says_something =
          std::any_of(answer.begin(), answer.end(), [](char c) { return is_digit(c) || c == '$' || c == '\\'; }) ||
          is_lone_letter(answer);
      if (says_something) found.push_back({at, end, answer});
    }
    at = next;
  }
}

void find_tags(std::string_view text, std::vector<FoundAnswer>& found) {
  constexpr std::string_view kOpen = "<answer>", kClose = "</answer>";
  size_t at = 0;
  while ((at = text.find(kOpen, at)) != std::string_view::npos) {
    size_t inner = at + kOpen.size(), end = text.find(kClose, inner);
    if (end == std::string_view::npos) return;
    size_t again = text.rfind(kOpen, end);  // the innermost, so that an open tag in prose takes nothing with it
    inner = again + kOpen.size();
    found.push_back({again, end + kClose.size(), trimmed(text.substr(inner, end - inner))});
    at = end + kClose.size();
  }
}

// "x =", "x_1 =" at `at`, which is moved behind it.
bool names_a_value(std::string_view s, size_t& at) {
  size_t i = at + 1;
  if (i < s.size() && s[i] == '_') {
    i++;
    while (i < s.size() && (is_digit(s[i]) || s[i] == '{' || s[i] == '}')) i++;
  }
  while (i < s.size() && s[i] == ' ') i++;
  if (i >= s.size() || s[i] != '=') return false;
  at = i + 1;
  return true;
}

// Nothing said between two answers, or only words that set them side by side.
bool side_by_side(std::string_view between) {
  static constexpr std::array<std::string_view, 13> kWords{"or",   "and",    "maybe",        "perhaps", "possibly",
                                                           "also", "either", "quad",         "qquad",   "text",
                                                           "else", "even",   "alternatively"};
  if (between.size() > kMaxBetween) return false;
  for (size_t i = 0; i < between.size();) {
    if (is_digit(between[i])) return false;
    if (is_letter(between[i]) && names_a_value(between, i)) continue;
    if (!is_letter(between[i])) {
      i++;
      continue;
    }
    std::string word;
    for (; i < between.size() && is_letter(between[i]); i++) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(between[i])));
    }
    if (std::find(kWords.begin(), kWords.end(), word) == kWords.end()) return false;
  }
  return true;
}

bool goes_on_with_or(std::string_view tail) {
  size_t i = tail.find_first_not_of(" $*.,)\\}");
  return i != std::string_view::npos && tail.substr(i, 3) == "or ";
}

}  // namespace

std::optional<std::string_view> without_reasoning(std::string_view response) {
  size_t close = response.rfind(kEndThink), open = response.rfind(kThink);
  if (open != std::string_view::npos && (close == std::string_view::npos || open > close)) return std::nullopt;
  return close == std::string_view::npos ? response : response.substr(close + kEndThink.size());
}

std::vector<FoundAnswer> find_answers(std::string_view text) {
  std::vector<FoundAnswer> boxes, tags, found;
  find_boxes(text, boxes);
  find_tags(text, tags);
  find_hashes(text, found);
  // A box inside a tag or on a #### line is that one's answer; so is a tag on a #### line.
  auto take = [&](const std::vector<FoundAnswer>& inner) {
    size_t outer = found.size(), o = 0;
    for (const FoundAnswer& f : inner) {
      while (o < outer && found[o].end <= f.begin) o++;
      if (o == outer || f.begin < found[o].begin) found.push_back(f);
    }
    std::sort(found.begin(), found.end(), [](const FoundAnswer& a, const FoundAnswer& b) { return a.begin < b.begin; });
  };
  take(tags);
  take(boxes);
  return found;
}

std::vector<FoundAnswer> final_answers(std::string_view text, bool& hedged) {
  std::vector<FoundAnswer> found = find_answers(text);
  hedged = false;
  if (found.empty()) return found;
  size_t first = found.size() - 1;
  while (first > 0) {
    size_t from = found[first - 1].end, to = found[first].begin;
    if (from > to || !side_by_side(text.substr(from, to - from))) break;
    first--;
  }
  found.erase(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(first));
  hedged = goes_on_with_or(text.substr(found.back().end));
  return found;
}

namespace {

// Where the last "answer" (in any case) before `end` begins.
size_t last_answer_word(std::string_view text, size_t end) {
  constexpr std::string_view kWord = "answer";
  if (end < kWord.size()) return std::string_view::npos;
  for (size_t at = end - kWord.size() + 1; at-- > 0;) {
    size_t i = 0;
    while (i < kWord.size() && (text[at + i] | 0x20) == kWord[i]) i++;
    if (i == kWord.size()) return at;
  }
  return std::string_view::npos;
}

// What follows "answer" where it announces one: "is", ":" or "=", with Markdown stars between; empty otherwise.
std::string_view behind_announcement(std::string_view rest) {
  constexpr std::string_view kDress = " \t*_";
  auto skip = [&](std::string_view also) {
    while (!rest.empty() &&
           (kDress.find(rest.front()) != std::string_view::npos || also.find(rest.front()) != std::string_view::npos))
      rest.remove_prefix(1);
  };
  skip("");
  if (rest.starts_with("isn't ")) return rest.substr(2);  // said to be none; the caller sees the "n't"
  bool is = rest.substr(0, 2) == "is" && rest.size() > 2 && !is_letter(rest[2]);
  bool sign = !rest.empty() && (rest.front() == ':' || rest.front() == '=');
  if (!is && !sign) return {};
  rest.remove_prefix(is ? 2 : 1);
  skip(":\r\n");
  return rest;
}

// Up to the end of the sentence: a line break, or a full stop that stands neither in a number nor in a formula.
std::string_view sentence(std::string_view text) {
  bool formula = false;
  for (size_t i = 0; i < text.size(); i++) {
    char c = text[i];
    if (c == '$' && (i == 0 || text[i - 1] != '\\')) formula = !formula;
    if (c == '\\' && i + 1 < text.size()) {
      if (text[i + 1] == '[' || text[i + 1] == '(') formula = true;
      if (text[i + 1] == ']' || text[i + 1] == ')') formula = false;
    }
    if (c == '\n' && !formula) return text.substr(0, i);
    bool last = i + 1 == text.size() || std::isspace(static_cast<unsigned char>(text[i + 1])) != 0;
    if (c == '.' && last && !formula) return text.substr(0, i);
  }
  return text;
}

}  // namespace

namespace {

// A line that is only the heading "Final Answer": the next line that is not blank. Looks no further than a heading is
// long, so that many words "answer" on one line stay cheap.
std::string_view below_heading(std::string_view text, size_t at, size_t length) {
  constexpr std::string_view kDress = " \t*_#:";
  constexpr size_t kMaxBefore = 20, kMaxBehind = 8;
  std::string before;
  for (size_t i = at, seen = 0; i-- > 0 && text[i] != '\n'; seen++) {
    if (seen == kMaxBefore) return {};
    if (kDress.find(text[i]) == std::string_view::npos)
      before.insert(before.begin(), static_cast<char>(std::tolower(static_cast<unsigned char>(text[i]))));
  }
  size_t end = at + length;
  while (end < text.size() && end < at + length + kMaxBehind && kDress.find(text[end]) != std::string_view::npos) end++;
  if (before != "final" || end >= text.size() || (text[end] != '\n' && text[end] != '\r')) return {};
  const size_t next = text.find_first_not_of(" \t\r\n", end);
  return next == std::string_view::npos ? std::string_view() : text.substr(next);
}

// The same in Chinese.
std::string_view announced_in_chinese(std::string_view text) {
  constexpr std::string_view kWord = "\xe7\xad\x94\xe6\xa1\x88";  // "answer"
  const size_t at = text.rfind(kWord);
  if (at == std::string_view::npos) return {};
  std::string_view rest = text.substr(at + kWord.size());
  bool announced = false;
  for (std::string_view sign : {"\xe6\x98\xaf", "\xe4\xb8\xba", "\xe9\x80\x89", "\xef\xbc\x9a", ":", "=", " "}) {
    if (!rest.starts_with(sign)) continue;
    rest.remove_prefix(sign.size());
    announced |= sign != " ";
  }
  const std::string_view said = sentence(rest);
  return announced ? trimmed(said.substr(0, said.find("\xe3\x80\x82"))) : std::string_view();
}

}  // namespace

std::string_view announced_answer(std::string_view text) {
  constexpr size_t kLength = 6;
  for (size_t at = text.size(); (at = last_answer_word(text, at)) != std::string_view::npos;) {
    std::string_view rest = behind_announcement(text.substr(at + kLength));
    if (rest.empty()) rest = below_heading(text, at, kLength);
    if (!rest.empty()) return trimmed(sentence(rest));
  }
  return announced_in_chinese(text);
}

namespace {

struct Formula {
  size_t begin, end;
  std::string_view inner;
};

// All formulas in order; $..$ may not hold a line break, $$..$$ and \[..\] may.
std::vector<Formula> formulas(std::string_view text) {
  std::vector<Formula> found;
  bool no_bracket = false, no_paren = false, no_dollars = false;  // nothing closes one of these any more
  auto closing = [&](size_t from, std::string_view mark, bool one_line) {
    size_t end = text.find(mark, from);
    while (end != std::string_view::npos && end > 0 && mark[0] == '$' && text[end - 1] == '\\')
      end = text.find(mark, end + 1);
    if (end != std::string_view::npos && one_line && text.substr(from, end - from).find('\n') != std::string_view::npos)
      return std::string_view::npos;
    return end;
  };
  for (size_t i = 0; i < text.size();) {
    std::string_view open, close;
    if (text.substr(i, 2) == "$$" && !no_dollars) {
      open = close = "$$";
    } else if (text[i] == '$') {
      open = close = "$";
    } else if (!no_bracket && text.substr(i, 2) == "\\[" && (i == 0 || text[i - 1] != '\\')) {
      open = "\\[", close = "\\]";
    } else if (!no_paren && text.substr(i, 2) == "\\(") {
      open = "\\(", close = "\\)";
    } else {
      i += text[i] == '\\' ? 2 : 1;
      continue;
    }
    size_t from = i + open.size(), end = closing(from, close, open == "$");
    if (end == std::string_view::npos) {
      no_bracket |= open == "\\[";
      no_paren |= open == "\\(";
      no_dollars |= open == "$$";
      i = from;
      continue;
    }
    std::string_view inner = trimmed(text.substr(from, end - from));
    if (!inner.empty()) found.push_back({i, end + close.size(), inner});
    i = end + close.size();
  }
  return found;
}

std::string_view last_number(std::string_view text) {
  auto part = [&](size_t i) {
    char c = text[i];
    bool inner = (c == ',' || c == '.' || c == '/') && i + 1 < text.size() && is_digit(text[i + 1]) && i > 0 &&
                 is_digit(text[i - 1]);
    return is_digit(c) || inner;
  };
  for (size_t end = text.size(); end > 0; end--) {
    if (!is_digit(text[end - 1])) continue;
    size_t begin = end - 1;
    while (begin > 0 && part(begin - 1)) begin--;
    if (begin > 0 && text[begin - 1] == '.') begin--;
    bool minus = begin > 0 && text[begin - 1] == '-' && (begin == 1 || !is_letter(text[begin - 2]));
    if (minus && (begin < 2 || !is_digit(text[begin - 2]))) begin--;
    if (end < text.size() && text[end] == '%') end++;
    return text.substr(begin, end - begin);
  }
  return {};
}

// One line whose words, if any, are those of mathematics.
bool short_line(std::string_view text) {
  constexpr size_t kMaxLine = 400;
  if (text.size() > kMaxLine || text.find('\n') != std::string_view::npos) return false;
  size_t words = 0, run = 0;
  for (size_t i = 0; i <= text.size(); i++) {
    bool letter = i < text.size() && is_letter(text[i]);
    bool command = i < text.size() && text[i] == '\\';
    if (command) {
      while (i + 1 < text.size() && is_letter(text[i + 1])) i++;
      run = 0;
      continue;
    }
    if (letter) {
      run++;
    } else {
      words += run >= 4;
      run = 0;
    }
  }
  return words <= 2;
}

// "so 0.5", "It is 12": a word in front that is neither a function nor a name.
bool begins_with_prose(std::string_view text) {
  static constexpr std::array<std::string_view, 12> kNoProse{"sin", "cos", "tan", "log",    "ln",     "sqrt",
                                                             "pi",  "exp", "inf", "arcsin", "arccos", "arctan"};
  size_t end = 0;
  while (end < text.size() && is_letter(text[end])) end++;
  std::string_view word = text.substr(0, end);
  size_t next = text.find_first_not_of(' ', end);
  bool named = next != std::string_view::npos && (text[next] == '=' || text[next] == '(' || text[next] == '_');
  return word.size() >= 2 && !named && std::find(kNoProse.begin(), kNoProse.end(), word) == kNoProse.end();
}

}  // namespace

std::string unmarked_answer(std::string_view text) {
  text = trimmed(text);
  std::vector<Formula> all = formulas(text);
  if (!all.empty()) {
    size_t first = all.size() - 1;
    while (first > 0 && side_by_side(text.substr(all[first - 1].end, all[first].begin - all[first - 1].end))) first--;
    std::string list;
    for (size_t i = first; i < all.size(); i++) list += (i > first ? ", " : "") + std::string(all[i].inner);
    // What stands right behind a formula belongs to it: $5$ cm, $10$\%.
    return list;
  }
  std::string_view number = last_number(text);
  if (short_line(text) && (number.empty() || !begins_with_prose(text))) return std::string(text);
  return std::string(number);
}

std::string_view open_box(std::string_view text) {
  size_t at = text.rfind("\\boxed");
  if (at == std::string_view::npos) return {};
  size_t brace = text.find('{', at);
  if (brace == std::string_view::npos || brace > at + 8) return {};
  std::string_view rest = text.substr(brace + 1);
  size_t end = std::min(rest.find('\n'), rest.find('$'));
  return trimmed(rest.substr(0, end));
}

std::string joined(const std::vector<FoundAnswer>& finals) {
  std::vector<std::string_view> different;
  for (const FoundAnswer& f : finals) {
    if (std::find(different.begin(), different.end(), f.answer) == different.end()) different.push_back(f.answer);
  }
  std::string list;
  for (std::string_view s : different) list += (list.empty() ? "" : ", ") + std::string(s);
  return list;
}

}  // namespace fulmen::reward::math
