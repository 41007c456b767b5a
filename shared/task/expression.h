#pragma once
// Arithmetic written by a model, without evaluating text: integers, + - * / %, parentheses, unary minus. Limits: 512
// characters, 64 levels, 64 operations, numerators and denominators below 2^62. Exact.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fulmen::task {

struct Fraction {
  int64_t over = 0, under = 1;  // lowest terms, under > 0
  bool operator==(const Fraction&) const = default;
};
// nullopt: division by zero or too large. % is the remainder of integers, of the divisor's sign as in Python.
std::optional<Fraction> apply(char op, const Fraction& a, const Fraction& b);
std::string text_of(const Fraction& f);                     // "7/2", "-3"
std::optional<Fraction> read_fraction(std::string_view s);  // "7/2", "3.5", "-3"

struct Parsed {
  std::optional<Fraction> value;  // nullopt: not an expression, or no value
  std::vector<int64_t> numbers;   // the literals, left to right
  std::string operators;          // the binary ones, left to right
  std::string why;
};
// × ÷ − are not taken for * / -: the prompt says which signs to use.
Parsed parse_expression(std::string_view text);

}  // namespace fulmen::task
