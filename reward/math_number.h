#pragma once
// Numbers as people and models write them, as exact rationals.
//
// Read: integers with thousands separators (1,234  1{,}234  1\,234), decimals, a/b, \frac{a}{b} and its kin, mixed
// numbers (2\frac{1}{2}, 2 1/2), powers with an integer exponent, 1.5e3, 1.5 \times 10^3, vulgar fraction characters,
// signs (also U+2212), percent, currency signs, scale words (5 million), a unit behind the number, "x =" before it,
// LaTeX and Markdown dress. Not read, on purpose: sums, products, ranges, lists, inequalities, chains of equations, "1
// or 2", anything else.

#include <gmpxx.h>

#include <optional>
#include <string>
#include <string_view>

namespace fulmen::reward {

struct Quantity {
  mpq_class value;  // of 50 % it is 50
  bool percent = false;
  std::string unit;  // lower case, plural s removed, "dollar" for $; empty when none was written
};

// Limits, so that no input is expensive: kMaxNumberText characters, kMaxExponent, kMaxPowerBits bits of a power.
inline constexpr size_t kMaxNumberText = 512;
inline constexpr long kMaxExponent = 4096;
inline constexpr size_t kMaxPowerBits = 1 << 16;

// nullopt when `text` is not one number; `why` says what is the matter.
std::optional<Quantity> parse_quantity(std::string_view text, std::string& why);

// The same number: equal values, percent on both or on neither, units not in contradiction (one may lack it).
bool same_quantity(const Quantity& a, const Quantity& b);

}  // namespace fulmen::reward
