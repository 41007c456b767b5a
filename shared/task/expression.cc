#include "shared/task/expression.h"

#include <numeric>

#include "shared/task/answer.h"

namespace fulmen::task {
namespace {

constexpr __int128 kLimit = __int128{1} << 62;

std::optional<Fraction> reduced(__int128 over, __int128 under) {
  if (under == 0) return std::nullopt;
  if (under < 0) over = -over, under = -under;
  __int128 a = over < 0 ? -over : over, b = under;
  while (b != 0) a = a % b, std::swap(a, b);
  if (a > 1) over /= a, under /= a;
  if (over >= kLimit || over <= -kLimit || under >= kLimit) return std::nullopt;
  return Fraction{static_cast<int64_t>(over), static_cast<int64_t>(under)};
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Parsed parse() {
    if (text_.size() > 512) return fail("longer than 512 characters"), std::move(out_);
    const auto value = sum(0);
    if (value && skip() != '\0') fail("a sign that does not belong there");
    if (out_.why.empty()) out_.value = value;
    return std::move(out_);
  }

 private:
  std::nullopt_t fail(const char* why) {
    if (out_.why.empty()) out_.why = why;
    return std::nullopt;
  }
  char skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  std::optional<Fraction> sum(int depth) { return chain(depth, "+-", true); }
  std::optional<Fraction> chain(int depth, std::string_view operators, bool of_products) {
    auto left = of_products ? chain(depth, "*/%", false) : atom(depth);
    while (left && skip() != '\0' && operators.find(text_[at_]) != std::string_view::npos) {
      const char op = text_[at_++];
      const size_t place = out_.operators.size();
      out_.operators += op;
      if (place >= 64) return fail("more than 64 operations");
      const auto right = of_products ? chain(depth, "*/%", false) : atom(depth);
      if (!right) return std::nullopt;
      left = apply(op, *left, *right);
      if (!left) return fail("no value: division by zero, or too large");
    }
    return left;
  }

  std::optional<Fraction> atom(int depth) {
    if (depth > 64) return fail("nested too deeply");
    const char c = skip();
    if (c == '(') {
      ++at_;
      const auto inner = sum(depth + 1);
      if (!inner) return std::nullopt;
      if (skip() != ')') return fail("a parenthesis is not closed");
      ++at_;
      return inner;
    }
    if (c == '-') {
      ++at_;
      const auto inner = atom(depth + 1);
      return inner ? std::optional(Fraction{-inner->over, inner->under}) : std::nullopt;
    }
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    if (at_ == begin) return fail("a number is missing");
    const auto value = at_ - begin > 9 ? std::nullopt : integer(text_.substr(begin, at_ - begin));
    if (!value) return fail("a number of more than 9 digits");
    out_.numbers.push_back(*value);
    return Fraction{*value, 1};
  }

  std::string_view text_;
  size_t at_ = 0;
  Parsed out_;
};

}  // namespace

std::optional<Fraction> apply(char op, const Fraction& a, const Fraction& b) {
  const __int128 ao = a.over, au = a.under, bo = b.over, bu = b.under;
  switch (op) {
    case '+':
      return reduced(ao * bu + bo * au, au * bu);
    case '-':
      return reduced(ao * bu - bo * au, au * bu);
    case '*':
      return reduced(ao * bo, au * bu);
    case '/':
      return reduced(ao * bu, au * bo);
    default: {
      if (a.under != 1 || b.under != 1 || b.over == 0) return std::nullopt;
      const int64_t rest = a.over % b.over;
      return Fraction{rest != 0 && (rest < 0) != (b.over < 0) ? rest + b.over : rest, 1};
    }
  }
}

std::string text_of(const Fraction& f) {
  return std::to_string(f.over) + (f.under == 1 ? "" : "/" + std::to_string(f.under));
}

std::optional<Fraction> read_fraction(std::string_view s) {
  s = trimmed(s);
  const size_t slash = s.find('/'), dot = s.find('.');
  if (slash != std::string_view::npos) {
    const auto over = integer(trimmed(s.substr(0, slash))), under = integer(trimmed(s.substr(slash + 1)));
    if (!over || !under) return std::nullopt;
    return reduced(*over, *under);
  }
  if (dot == std::string_view::npos) {
    const auto whole = integer(s);
    return whole ? reduced(*whole, 1) : std::nullopt;
  }
  const size_t places = s.size() - dot - 1;
  if (places == 0 || places > 12 || s.substr(dot + 1).find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  __int128 scale = 1;
  for (size_t i = 0; i < places; ++i) scale *= 10;
  const auto digits = integer(std::string(s.substr(0, dot)) + std::string(s.substr(dot + 1)));
  return digits ? reduced(*digits, scale) : std::nullopt;
}

Parsed parse_expression(std::string_view text) { return Parser(text).parse(); }

}  // namespace fulmen::task
