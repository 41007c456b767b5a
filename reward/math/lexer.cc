#include "reward/math/lexer.h"

#include <fmt/core.h>

#include <array>

#include "reward/math/lexer_state.h"

namespace fulmen::reward::math {
namespace {

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

}  // namespace

bool Lexer::run(std::string_view text) {
  s_ = text;
  size_t dollars = 0;
  for (size_t i = 0; i < s_.size(); i++) dollars += s_[i] == '$' && (i == 0 || s_[i - 1] != '\\');
  odd_dollars_ = dollars % 2 == 1;
  if (!all(false, 0)) return false;
  out_.push_back(Token{});
  return true;
}

bool Lexer::fail(const char* why) {
  why_ = why;
  return false;
}

Token& Lexer::push(Tok kind, int code, std::string_view text) {
  Token t;
  t.kind = kind;
  t.code = code;
  t.space = space_;
  t.in_text = in_text_;
  t.text = text;
  space_ = false;
  out_.push_back(std::move(t));
  return out_.back();
}

bool Lexer::all(bool in_text, int depth) {
  constexpr int kMaxNested = 8;
  if (depth > kMaxNested) return fail("text nested too deep");
  bool outer_text = in_text_;
  in_text_ = in_text;
  while (at_ < s_.size()) {
    if (!one(depth)) return false;
  }
  in_text_ = outer_text;
  return true;
}

bool Lexer::one(int depth) {
  char c = peek();
  if (is_digit(c) || (c == '.' && is_digit(peek(1)) && !previous_is_dot())) return number();
  if (is_letter(c)) return letters();
  if (c == '\\') return command(depth);
  if (static_cast<unsigned char>(c) >= 0x80) return beyond_ascii(depth);
  at_++;
  return ascii(c);
}

bool Lexer::previous_is_dot() const { return at_ > 0 && s_[at_ - 1] == '.'; }

bool Lexer::ascii(char c) {
  switch (c) {
    case ' ':
    case '\t':
    case '\r':
    case '\n':
    case '~':
      space_ = true;
      return true;
    case '$':
      if (odd_dollars_ && (is_digit(peek()) || (peek() == ' ' && is_digit(peek(1))))) push(Tok::kSign, kDollarSign);
      space_ = true;
      return true;
    case '.':
      if (peek() == '.' && peek(1) == '.') {
        at_ += 2;
        push(Tok::kSign, kDotsSign);
      }
      return true;
    case '"':
    case '`':
    case '?':
      return true;
    case '*':
      if (peek() == '*') {
        at_++;
        push(Tok::kSign, '^');
      } else {
        push(Tok::kSign, '*');
      }
      return true;
    case '<':
    case '>':
    case '!':
    case '=':
      return relation(c);
    case '-':
      if (peek() == '>') {
        at_++;
        push(Tok::kSign, kArrowSign);
      } else {
        push(Tok::kSign, '-');
      }
      return true;
    case '(':
    case '[':
      brackets_++;
      push(Tok::kSign, c);
      return true;
    case ')':
    case ']':
      brackets_ = brackets_ > 0 ? brackets_ - 1 : c == ']';  // ]1, 2[ begins with one
      push(Tok::kSign, c);
      return true;
    default:
      if (c < ' ' || c == 127) return fail("a control character");
      push(Tok::kSign, c);
      return true;
  }
}

bool Lexer::relation(char c) {
  bool equal = peek() == '=';
  if (c == '=') {
    if (equal) at_++;
    push(Tok::kSign, '=');
  } else if (!equal) {
    push(Tok::kSign, c);
  } else {
    at_++;
    push(Tok::kSign, c == '<' ? kLe : c == '>' ? kGe : kNe);
  }
  return true;
}

bool Lexer::beyond_ascii(int depth) {
  size_t length = 1;
  uint32_t c = decode(s_.substr(at_), length);
  if (is_direction_override(c)) return fail("a direction override");
  if (c >= 0x80 && c < 0xa0) return fail("a control character");
  if (raised_digit(c) != 0 || lowered_digit(c) != 0) return small_digits(depth);
  std::string_view fraction = vulgar_fraction(c);
  if (!fraction.empty()) {
    at_ += length;
    push(Tok::kNumber, 0, fraction);
    return true;
  }
  if (c >= 0xff01 && c <= 0xff5e) {  // full-width ASCII
    std::string run;
    while (c >= 0xff01 && c <= 0xff5e) {
      run += static_cast<char>(c - 0xff01 + '!');
      at_ += length;
      c = decode(s_.substr(at_), length);
    }
    return inner(run, in_text_, depth + 1);
  }
  std::string_view known;
  if (spelled_in_ascii(c, known)) {
    at_ += length;
    return inner(known, false, depth + 1);
  }
  // Any other run of characters is a word.
  std::string word;
  while (at_ < s_.size() && static_cast<unsigned char>(s_[at_]) >= 0x80) {
    c = decode(s_.substr(at_), length);
    if (spelled_in_ascii(c, known) || (c >= 0xff01 && c <= 0xff5e) || !vulgar_fraction(c).empty()) break;
    if (is_direction_override(c)) return fail("a direction override");
    word.append(s_.substr(at_, length));
    at_ += length;
  }
  push(Tok::kWord, 0, word);
  return true;
}

// A run of raised or of lowered digits.
bool Lexer::small_digits(int depth) {
  size_t length = 1;
  const bool raised = raised_digit(decode(s_.substr(at_), length)) != 0;
  std::string run = raised ? "^{" : "_{";
  for (;;) {
    const uint32_t c = decode(s_.substr(at_), length);
    const char digit = raised ? raised_digit(c) : lowered_digit(c);
    if (digit == 0) break;
    run += digit;
    at_ += length;
  }
  return inner(run + "}", false, depth + 1);
}

// Tokens of another text in the place of this one.
bool Lexer::inner(std::string_view text, bool in_text, int depth) {
  std::string_view outer = s_;
  size_t outer_at = at_;
  s_ = text;
  at_ = 0;
  bool ok = all(in_text, depth);
  s_ = outer;
  at_ = outer_at;
  return ok;
}

size_t Lexer::digits_from(size_t at) const {
  size_t end = at;
  while (end < s_.size() && is_digit(s_[end])) end++;
  return end - at;
}

// Length of a separator of thousands at `at`, when three digits and no more follow it; 0 otherwise.
size_t Lexer::separator_at(size_t at, bool& comma) const {
  static constexpr std::array<std::string_view, 14> kSeparators{
      "\\;", "\\:", "\u202f", "\u2009", "\u00a0", "{,}", "\\!,\\!", ",\\!", "\\!,", ",\\ ", "\\,", ",", "{\\,}", "\\ "};
  auto three = [&](size_t from) { return digits_from(from) == 3; };
  for (std::string_view sep : kSeparators) {
    if (s_.substr(at, sep.size()) != sep) continue;
    size_t after = at + sep.size();
    if (sep == ",\\!" && after < s_.size() && s_[after] == ' ') after++;  // 11,\! 111
    if (!three(after)) continue;
    comma = sep == ",";
    if (comma && brackets_ > 0) return 0;
    return after - at;
  }
  if (at < s_.size() && s_[at] == ' ' && three(at + 1)) return 1;
  return 0;
}

bool Lexer::number() {
  std::string text;
  size_t whole = digits_from(at_);
  text.assign(s_.substr(at_, whole));
  bool grouped = false;
  at_ += whole;
  bool after_power = !out_.empty() && (out_.back().is('^') || out_.back().is('_') || out_.back().is(kFracSign));
  if (whole >= 1 && whole <= 3 && text[0] != '0' && !after_power) {
    bool comma = false;
    for (size_t length; (length = separator_at(at_, comma)) != 0; at_ += 3) {
      grouped |= comma;
      at_ += length;
      text.append(s_.substr(at_, 3));
    }
  }
  if (const size_t groups = points_of_thousands(at_); groups != 0 && text.size() == whole && !after_power) {
    for (size_t i = 0; i < groups; i++) {
      if (peek(i) != '.') text += peek(i);
    }
    at_ += groups;
  } else if (peek() == '.' && (is_digit(peek(1)) || repeating_at(at_ + 1) != 0)) {
    size_t places = digits_from(at_ + 1);
    text.append(s_.substr(at_, places + 1));
    at_ += places + 1;
    if (text[0] == '.') text.insert(text.begin(), '0');
    size_t skip = repeating_at(at_);
    if (skip != 0) {
      size_t repeat = digits_from(at_ + skip);
      text += fmt::format("({})", s_.substr(at_ + skip, repeat));
      at_ += skip + repeat + 1;
    }
    endless(text);
  } else if (peek() == '.' && peek(1) == '(' && whole > 0) {  // 0.(3)
    const size_t repeat = digits_from(at_ + 2);
    if (repeat > 0 && repeat <= 64 && peek(2 + repeat) == ')') {
      text += fmt::format(".({})", s_.substr(at_ + 2, repeat));
      at_ += repeat + 3;
    }
  }
  exponent(text);
  push(Tok::kNumber, 0, text).grouped = grouped;
  if (text.find('.') != std::string::npos && dots_at(at_) != 0) {  // 3.14...: more than what is written
    at_ += dots_at(at_);
    push(Tok::kSign, kDotsSign);
  }
  return true;
}

// \overline{digits} at `at`: length of what stands before the digits.
size_t Lexer::repeating_at(size_t at) const {
  for (std::string_view name :
       {std::string_view("\\overline{"), std::string_view("\\bar{"), std::string_view("\\dot{")}) {
    if (s_.substr(at, name.size()) != name) continue;
    size_t repeat = digits_from(at + name.size()), end = at + name.size() + repeat;
    if (repeat > 0 && repeat <= 64 && end < s_.size() && s_[end] == '}') return name.size();
  }
  return 0;
}

size_t Lexer::dots_at(size_t at) const {
  for (std::string_view dots : {"\\ldots", "\\cdots", "\\dots", "\u2026", "..."}) {
    if (s_.substr(at, dots.size()) == dots) return dots.size();
  }
  return 0;
}

void Lexer::endless(std::string& text) {
  if (text.back() == ')') {  // \dot{1}2\dot{3}: the dots stand over the first and the last
    const size_t open = text.rfind('(');
    size_t i = at_;
    while (i < s_.size() && is_digit(s_[i])) i++;
    const bool second = s_.substr(i, 5) == "\\dot{" && i + 6 < s_.size() && is_digit(s_[i + 5]) && s_[i + 6] == '}';
    if (!second || text.size() != open + 3) return;
    text.pop_back();
    text.append(s_.substr(at_, i - at_)).append(s_.substr(i + 5, 1)) += ')';
    at_ = i + 7;
    return;
  }
  const size_t dots = dots_at(at_), point = text.find('.');
  if (dots == 0) return;
  // The shortest block that the digits end with: three times one digit, twice several.
  const std::string_view places = std::string_view(text).substr(point + 1);
  for (size_t block = 1; block * 2 <= places.size() && block <= 32; block++) {
    const size_t times = block == 1 ? 3 : 2;
    if (block * times > places.size()) continue;
    const std::string last(places.substr(places.size() - block));
    bool repeats = true;
    for (size_t i = 2; i <= times; i++) repeats &= places.substr(places.size() - i * block, block) == last;
    if (!repeats) continue;
    text += fmt::format("({})", last);
    at_ += dots;
    return;
  }
}

size_t Lexer::points_of_thousands(size_t at) const {
  size_t end = at, groups = 0;
  while (end < s_.size() && s_[end] == '.' && digits_from(end + 1) == 3) {
    end += 4;
    groups++;
  }
  return groups >= 2 && (end >= s_.size() || s_[end] != '.' || digits_from(end + 1) == 0) ? end - at : 0;
}

// 1.5E3, 1e-7. A small e with a plus and one digit (2e+1) may as well be Euler's number: not read as an exponent.
void Lexer::exponent(std::string& text) {
  if (text.back() == ')' || (peek() != 'e' && peek() != 'E')) return;
  size_t sign = peek(1) == '-' || peek(1) == '+' ? 1 : 0;
  size_t digits = digits_from(at_ + 1 + sign);
  if (digits == 0 || digits > 6 || is_letter(peek(1 + sign + digits))) return;
  if (peek() == 'e' && peek(1) == '+' && digits < 2) return;
  text += 'e';
  text.append(s_.substr(at_ + 1, sign + digits));
  at_ += 1 + sign + digits;
}

bool Lexer::letters() {
  size_t end = at_;
  while (end < s_.size() && is_letter(s_[end])) end++;
  // A digit inside a text word belongs to it: A5 in base eleven.
  if (in_text_) {
    while (end < s_.size() && (is_letter(s_[end]) || is_digit(s_[end]))) end++;
  }
  std::string_view run = s_.substr(at_, end - at_);
  const bool after_number = !out_.empty() && out_.back().kind == Tok::kNumber;
  if (after_number && (run == "x" || run == "X") && s_.substr(end, 4).find("10^") <= 1) {  // 6.02 x 10^23
    at_ = end;
    push(Tok::kSign, '*');
    return true;
  }
  const bool half_day = run == "a" || run == "p" || run == "A" || run == "P";
  if (after_number && half_day && (s_.substr(end, 2) == ".m" || s_.substr(end, 2) == ".M") &&
      !(end + 2 < s_.size() && is_letter(s_[end + 2]))) {  // 7:30 p.m.
    at_ = end + 2;
    push(Tok::kWord, 0, (run[0] | 0x20) == 'a' ? "am" : "pm");
    return true;
  }
  at_ = end;
  if (run == "or" || run == "OR") {
    push(Tok::kSign, kOrSign);
  } else if (run == "and" || run == "AND") {
    push(Tok::kSign, kAndSign);
  } else if (in_text_) {
    Token t;
    if (known_function_word(run, t) && run != "min" && run != "sec") {
      push(t.kind, t.code, t.text);
    } else {
      push(Tok::kWord, 0, run);
    }
  } else {
    plain_run(run);
  }
  return true;
}

void Lexer::plain_run(std::string_view run) {
  if (run.size() == 1) {
    push(Tok::kLetter, 0, run);
    return;
  }
  Token t;
  bool argument = peek() == '(' || (peek() == ' ' && peek(1) == '(');
  bool after_number = !out_.empty() && out_.back().kind == Tok::kNumber;
  if ((run != "min" && run != "sec" && known_function_word(run, t)) ||
      ((run == "min" || run == "sec") && argument && known_function_word(run, t))) {
    push(t.kind, t.code, t.text);
  } else if (argument && (run == "Var" || run == "Cov" || run == "Pr" || run == "rank" || run == "dim")) {
    push(Tok::kWord, 0, run);
  } else if (run == "sqrt") {
    push(Tok::kSign, kSqrtSign);
  } else if (run == "pi" || run == "Pi") {
    push(Tok::kSign, kPiSign);
  } else if (run == "oo" || run == "inf" || run == "infty" || run == "infinity" || run == "Infinity") {
    push(Tok::kSign, kInf);
  } else if (run == "alpha" || run == "beta" || run == "theta" || run == "gamma" || run == "lambda" || run == "phi") {
    push(Tok::kLetter, 0, run);
  } else if (run == "mod") {
    push(Tok::kSign, kModSign);
  } else if (run == "in" && !after_number) {
    push(Tok::kSign, kInSign);
  } else if (run == "U" || run == "union") {
    push(Tok::kSign, kCup);
  } else if (after_number && space_ && run.size() == 3 && std::string_view("aeiou").find(run[1]) != run.npos) {
    push(Tok::kWord, 0, run);  // 5 men, 3 boxes: no product has a space there and a vowel in the middle
  } else if (is_short_unit(run) || run.size() >= 4 || (run.size() == 3 && is_upper(run[0]) && is_upper(run[2]))) {
    if (!function_prefix(run)) push(Tok::kWord, 0, run);
  } else if (!function_prefix(run)) {
    for (char c : run) push(Tok::kLetter, 0, std::string_view(&c, 1));
  }
}

// sinx, ln2x: a function's name with its argument stuck to it.
bool Lexer::function_prefix(std::string_view run) {
  static constexpr std::array<std::string_view, 6> kNames{"sin", "cos", "tan", "cot", "log", "ln"};
  for (std::string_view name : kNames) {
    if (run.substr(0, name.size()) != name || run.size() > name.size() + 1) continue;
    Token t;
    known_function_word(name, t);
    push(t.kind, t.code, t.text);
    for (char c : run.substr(name.size())) push(Tok::kLetter, 0, std::string_view(&c, 1));
    return true;
  }
  return false;
}

bool lex(std::string_view text, std::vector<Token>& tokens, std::string& why) {
  tokens.clear();
  if (text.size() > kMaxAnswerBytes) {
    why = fmt::format("longer than {} bytes", kMaxAnswerBytes);
    return false;
  }
  tokens.reserve(text.size() / 2 + 2);
  return Lexer(tokens, why).run(text);
}

}  // namespace fulmen::reward::math
