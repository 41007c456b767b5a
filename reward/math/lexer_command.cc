// What begins with a backslash.
#include <unordered_set>

#include "reward/math/lexer_state.h"

namespace fulmen::reward::math {
namespace {

const std::unordered_set<std::string_view>& text_commands() {
  static const std::unordered_set<std::string_view> kText{"text", "textrm", "textbf",       "textit", "textnormal",
                                                          "mbox", "mathrm", "hbox",         "textsf", "texttt",
                                                          "emph", "mathtt", "operatorname", "textsc", "textup"};
  return kText;
}

// Commands dropped together with their braces.
bool swallows_argument(std::string_view name) {
  static const std::unordered_set<std::string_view> kSwallow{"phantom",   "hphantom", "vphantom", "hspace",
                                                             "vspace",    "tag",      "label",    "color",
                                                             "textcolor", "colorbox", "mspace",   "kern"};
  return kSwallow.count(name) != 0;
}

bool is_accent(std::string_view name) {
  static const std::unordered_set<std::string_view> kAccents{
      "overline", "bar",     "vec",       "hat",       "tilde",     "dot",     "overrightarrow",
      "widehat",  "overarc", "widetilde", "overparen", "wideparen", "mathring"};
  return kAccents.count(name) != 0;
}

bool reads_letters(std::string_view name) {
  return name == "mathbb" || name == "Bbb" || name == "mathds" || name == "mathscr" || name == "mathfrak";
}

}  // namespace

bool Lexer::command(int depth) {
  size_t end = at_ + 1;
  while (end < s_.size() && is_letter(s_[end])) end++;
  std::string_view name = s_.substr(at_ + 1, end - at_ - 1);
  if (name.empty()) return escaped();
  at_ = end;
  return named(name, depth);
}

bool Lexer::escaped() {
  char c = peek(1);
  at_ += 2;
  switch (c) {
    case '\\':
      return row_break();
    case '{':
      brackets_++;
      push(Tok::kSign, kOpenSet);
      return true;
    case '}':
      if (brackets_ > 0) brackets_--;
      push(Tok::kSign, kCloseSet);
      return true;
    case '$':
      push(Tok::kSign, kDollarSign);
      return true;
    case '%':
    case '&':
    case '#':
    case '_':
    case '|':
      push(Tok::kSign, c);
      return true;
    case '!':
      return true;
    case '\0':
      at_ = s_.size();
      return true;
    default:  // spaces and math brackets \( \) \[ \]
      space_ = true;
      return true;
  }
}

// \\ is a new row, or a backslash that was escaped once too often: \\frac.
bool Lexer::row_break() {
  size_t end = at_;
  while (end < s_.size() && is_letter(s_[end])) end++;
  std::string_view name = s_.substr(at_, end - at_);
  Token t;
  if (name.size() >= 2 &&
      (known_command(name, t) || text_commands().count(name) != 0 || name == "begin" || name == "end")) {
    at_ = end;
    return named(name, 0);
  }
  if (peek() == '[') {  // \\[2pt]
    size_t close = s_.find(']', at_);
    if (close != std::string_view::npos && close - at_ < 12 &&
        s_.substr(at_, close - at_).find("pt") != std::string_view::npos)
      at_ = close + 1;
  }
  push(Tok::kSign, kRowBreak);
  return true;
}

bool Lexer::named(std::string_view name, int depth) {
  if (name == "begin" || name == "end") {
    std::string_view env = braced();
    push(name == "begin" ? Tok::kBegin : Tok::kEnd, 0, env);
    return true;
  }
  if (text_commands().count(name) != 0) return text_argument(name, depth);
  if (swallows_argument(name)) {
    braced();
    return true;
  }
  if (reads_letters(name)) {
    std::string_view letter = braced();
    while (letter.empty() && peek() == ' ') at_++;
    if (letter.empty() && is_letter(peek())) letter = s_.substr(at_++, 1);  // \mathbb R
    bool set = letter.size() == 1 && std::string_view("RZNQC").find(letter) != std::string_view::npos;
    push(set ? Tok::kSign : Tok::kLetter, set ? kNamedSetSign : 0, letter);
    return true;
  }
  if (is_accent(name)) {
    push(Tok::kAccent, 0, name == "overline" ? "bar" : name);
    return true;
  }
  if (name == "not") {  // \\not=, \\not\\in
    while (peek() == ' ') at_++;
    const bool member = s_.substr(at_, 3) == "\\in" && !is_letter(peek(3));
    if (!member && peek() != '=') return fail("\\not before something unknown");
    at_ += member ? 3 : 1;
    push(Tok::kSign, member ? kNotInSign : kNe);
    return true;
  }
  if (name == "pmod") {
    push(Tok::kWord, 0, "pmod");
    return true;
  }
  Token t;
  if (!known_command(name, t)) {
    if (!glued_delimiter(name, depth)) push(Tok::kLetter, 0, name);
  } else if (t.kind != Tok::kSign || t.code != 0) {
    if (t.code == kOpenSet) brackets_++;
    push(t.kind, t.code, t.text);
  } else {
    return dropped(name);
  }
  return true;
}

// \\vertx: a delimiter's name with what it encloses stuck to it. True when its tokens were made.
bool Lexer::glued_delimiter(std::string_view name, int depth) {
  for (std::string_view start :
       {"lvert", "rvert", "vert", "lbrace", "rbrace", "lbrack", "rbrack", "lgroup", "rgroup"}) {
    if (name.substr(0, start.size()) != start || depth > 1) continue;
    at_ -= name.size() - start.size();
    named(start, depth + 1);
    return true;
  }
  return false;
}

// A command that is only dress; \left and \right give the bar behind them a side.
bool Lexer::dropped(std::string_view name) {
  bool left = name == "left" || name == "mleft", right = name == "right" || name == "mright";
  if (!left && !right) {
    if (name == "quad" || name == "qquad") space_ = true;
    return true;
  }
  while (peek() == ' ') at_++;
  char c = peek();
  if (c == '.') {
    at_++;
  } else if (c == '|') {
    at_++;
    push(Tok::kSign, left ? kOpenAbs : kCloseAbs);
  } else if (c == '{' || c == '}') {
    at_++;
    push(Tok::kSign, left ? kOpenSet : kCloseSet);
  } else if (s_.substr(at_, 5) == "\\vert") {
    at_ += 5;
    push(Tok::kSign, left ? kOpenAbs : kCloseAbs);
  } else if (s_.substr(at_, 2) == "\\|" || (s_.substr(at_, 5) == "\\Vert" && !is_letter(peek(5)))) {
    at_ += c == '\\' && peek(1) == '|' ? 2 : 5;
    push(Tok::kSign, left ? kOpenAbs : kCloseAbs);
  }
  return true;
}

// What stands in the braces that follow; empty when there are none.
std::string_view Lexer::braced() {
  while (peek() == ' ' || peek() == '*') at_++;
  if (peek() != '{') return {};
  size_t begin = at_ + 1, depth = 0;
  for (size_t i = at_; i < s_.size(); i++) {
    if (s_[i] == '\\') {
      i++;
    } else if (s_[i] == '{') {
      depth++;
    } else if (s_[i] == '}' && --depth == 0) {
      at_ = i + 1;
      return s_.substr(begin, i - begin);
    }
  }
  at_ = s_.size();
  return s_.substr(begin);
}

bool Lexer::text_argument(std::string_view name, int depth) {
  if (name == "operatorname" && peek() == '*') at_++;
  while (peek() == ' ') at_++;
  if (peek() != '{') return true;
  std::string_view content = braced();
  while (!content.empty() && content.front() == ' ') {
    content.remove_prefix(1);
    space_ = true;
  }
  Token t;
  if ((name == "operatorname" || name == "mathrm" || name == "text" || name == "textrm") &&
      (known_function_word(content, t) || (name == "operatorname" && known_command(content, t)))) {
    bool minutes = content == "min" || content == "sec";
    if (!minutes || name == "operatorname") {
      push(t.kind, t.code, t.text);
      return true;
    }
  }
  if (name == "mathrm" && (content == "e" || content == "i" || content == "d")) {
    push(Tok::kLetter, 0, content);
    return true;
  }
  return inner(content, true, depth + 1);
}

}  // namespace fulmen::reward::math
