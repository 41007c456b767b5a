#include "reward/math_number.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace fulmen::reward {
namespace {

// Written by plain() for what LaTeX and Unicode spell in several ways.
constexpr char kDollar = '\1', kEuro = '\2', kPound = '\3';
constexpr char kText = '\4';  // what follows stood in \text{...}
constexpr char kDegree = '\5';
constexpr char kTimes = '\6';
constexpr char kFraction = '\7';  // \frac
constexpr char kThin = '\b';      // a thin space, which may separate thousands
constexpr char kSquare = '\v';    // superscript two or three: part of a unit

using Pair = std::pair<std::string_view, std::string_view>;

constexpr std::array<Pair, 31> kCommands{{
    {"left", ""},     {"right", ""},    {"boxed", ""},      {"fbox", ""},     {"displaystyle", ""}, {"mathbf", ""},
    {"bf", ""},       {"bold", ""},     {"boldsymbol", ""}, {"textbf", "\4"}, {"text", "\4"},       {"textrm", "\4"},
    {"textit", "\4"}, {"mathrm", "\4"}, {"mbox", "\4"},     {"rm", "\4"},     {"frac", "\7"},       {"dfrac", "\7"},
    {"tfrac", "\7"},  {"cfrac", "\7"},  {"times", "\6"},    {"cdot", "\6"},   {"circ", "\5"},       {"degree", "\5"},
    {"quad", " "},    {"qquad", " "},   {"pounds", "\3"},   {"euro", "\2"},   {"percent", "%"},     {"div", "/"},
    {"dollar", "\1"},
}};

constexpr std::array<Pair, 29> kCharacters{{
    {"\u2212", "-"},        {"\u2013", "-"},        {"\u00a0", "\b"},       {"\u2009", "\b"},
    {"\u202f", "\b"},       {"\u00d7", "\6"},       {"\u22c5", "\6"},       {"\u20ac", "\2"},
    {"\u00a3", "\3"},       {"\u00b0", "\5"},       {"\u00b2", "\v"},       {"\u00b3", "\v"},
    {"\u201c", ""},         {"\u201d", ""},         {"\u00bd", "\7{1}{2}"}, {"\u2153", "\7{1}{3}"},
    {"\u2154", "\7{2}{3}"}, {"\u00bc", "\7{1}{4}"}, {"\u00be", "\7{3}{4}"}, {"\u2155", "\7{1}{5}"},
    {"\u2156", "\7{2}{5}"}, {"\u2157", "\7{3}{5}"}, {"\u2158", "\7{4}{5}"}, {"\u2159", "\7{1}{6}"},
    {"\u215a", "\7{5}{6}"}, {"\u215b", "\7{1}{8}"}, {"\u215c", "\7{3}{8}"}, {"\u215d", "\7{5}{8}"},
    {"\u215e", "\7{7}{8}"},
}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// One spelling for everything; false for a command or character that no number has.
bool plain(std::string_view in, std::string& out) {
  for (size_t i = 0; i < in.size();) {
    char c = in[i];
    if (c == '\\') {
      size_t end = i + 1;
      while (end < in.size() && is_letter(in[end])) end++;
      std::string_view name = in.substr(i + 1, end - i - 1);
      if (name.empty()) {
        if (end >= in.size()) return false;
        switch (in[end]) {
          case ',':
            out += kThin;
            break;
          case '!':
            break;
          case ' ':
          case ';':
          case ':':
            out += ' ';
            break;
          case '$':
            out += kDollar;
            break;
          case '%':
            out += '%';
            break;
          case '(':
          case ')':
          case '[':
          case ']':
            break;
          default:
            return false;
        }
        i = end + 1;
        continue;
      }
      auto known = std::find_if(kCommands.begin(), kCommands.end(), [&](const Pair& p) { return p.first == name; });
      if (known == kCommands.end()) return false;
      out += known->second;
      i = end;
    } else if (in.substr(i, 3) == "{,}") {
      out += ',';
      i += 3;
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      auto known = std::find_if(kCharacters.begin(), kCharacters.end(),
                                [&](const Pair& p) { return in.substr(i, p.first.size()) == p.first; });
      if (known == kCharacters.end()) return false;
      out += known->second;
      i += known->first.size();
    } else if (static_cast<unsigned char>(c) < 0x20 && !std::isspace(static_cast<unsigned char>(c))) {
      return false;
    } else {
      if (c != '$') out += std::isspace(static_cast<unsigned char>(c)) || c == '~' ? ' ' : c;
      i++;
    }
  }
  return true;
}

// Recursive descent over the plain spelling. Every step moves forward; depth is bounded by kMaxDepth.
class Parser {
 public:
  Parser(std::string_view s, std::string& why) : s_(s), why_(why) {}

  bool quantity(Quantity& q) {
    skip("*_`\": {}");
    equation_left_side();
    bool negative = sign();
    currency(q);
    if (!negative) negative = sign();
    if (!number(q.value, 0)) return false;
    if (negative) q.value = -q.value;
    skip(" {}\b");
    if (!q.unit.empty() && peek() == '%') return fail("both a currency and a percent sign");
    currency(q);
    if (take('%')) q.percent = true;
    if (!unit(q)) return false;
    return true;
  }

 private:
  static constexpr int kMaxDepth = 4;

  char peek(size_t ahead = 0) const { return at_ + ahead < s_.size() ? s_[at_ + ahead] : '\0'; }
  bool take(char c) {
    if (peek() != c) return false;
    at_++;
    return true;
  }
  void skip(std::string_view characters) {
    while (at_ < s_.size() && characters.find(s_[at_]) != std::string_view::npos) at_++;
  }
  bool fail(const char* why) {
    if (why_.empty()) why_ = why;
    return false;
  }

  // "x =" and a bare "=" may stand in front; anything else on a left side makes it an equation, which is not a number.
  void equation_left_side() {
    size_t start = at_;
    if (is_letter(peek()) && !is_letter(peek(1))) at_++;
    skip(" {}");
    if (take('=')) {
      skip(" {}\4");
    } else {
      at_ = start;
      skip("\4{ ");
    }
  }

  bool sign() {
    bool negative = false;
    if (peek() == '-' || peek() == '+') {
      negative = peek() == '-';
      at_++;
      skip(" \b");
    }
    return negative;
  }

  void currency(Quantity& q) {
    for (auto [mark, name] : {std::pair{kDollar, "dollar"}, std::pair{kEuro, "euro"}, std::pair{kPound, "pound"}}) {
      if (take(mark)) q.unit = name;
    }
    skip(" ");
  }

  bool number(mpq_class& v, int depth) {
    if (depth > kMaxDepth) return fail("fractions nested too deep");
    if (peek() == kFraction) return fraction(v, depth);
    bool whole = false;
    if (!decimal(v, whole)) return false;
    if (whole && mixed(v, depth)) return true;
    if (!power(v)) return false;
    size_t before = at_;
    skip(" ");
    if (peek() == '/' && (is_digit(peek(1)) || peek(1) == ' ' || peek(1) == '{')) {
      at_++;
      skip(depth == 0 ? " {" : " ");
      mpq_class below;
      bool ignored = false;
      if (!decimal(below, ignored) || !power(below)) return false;
      if (below == 0) return fail("division by zero");
      v /= below;
      return true;
    }
    at_ = before;
    return scientific(v);
  }

  bool fraction(mpq_class& v, int depth) {
    at_++;
    mpq_class below;
    if (!argument(v, depth) || !argument(below, depth)) return false;
    if (below == 0) return fail("division by zero");
    v /= below;
    return true;
  }

  bool argument(mpq_class& v, int depth) {  // {number}, or one digit
    skip(" ");
    if (is_digit(peek())) {
      v = peek() - '0';
      at_++;
      return true;
    }
    if (!take('{')) return fail("not a number: a fraction without its parts");
    skip(" ");
    bool negative = sign();
    if (!number(v, depth + 1)) return false;
    if (negative) v = -v;
    skip(" ");
    return take('}') || fail("not a number: a fraction of more than numbers");
  }

  // Digits with separators and a point. `whole`: neither point nor exponent.
  bool decimal(mpq_class& v, bool& whole) {
    std::string digits;
    size_t groups = 0;
    while (is_digit(peek())) {
      size_t start = at_;
      while (is_digit(peek())) digits += s_[at_++];
      size_t length = at_ - start;
      if (groups > 0 && length != 3) return fail("digits between separators are not in threes");
      bool separator = (peek() == ',' || peek() == kThin) && is_digit(peek(1));
      if (!separator) break;
      if (groups == 0 && length > 3) return fail("digits between separators are not in threes");
      groups++;
      at_++;
    }
    long scale = 0;
    bool point = peek() == '.' && (is_digit(peek(1)) || !digits.empty());
    if (point) {
      at_++;
      while (is_digit(peek())) {
        digits += s_[at_++];
        scale--;
      }
    }
    if (digits.empty()) return fail("not a number");
    if ((peek() == 'e' || peek() == 'E') &&
        (is_digit(peek(1)) || (std::string_view("+-").find(peek(1)) != std::string_view::npos && is_digit(peek(2))))) {
      at_++;
      long e = 0;
      if (!integer(e)) return false;
      scale += e;
      point = true;
    }
    whole = !point;
    v = mpq_class(mpz_class(digits, 10));
    times_ten_to(v, scale);
    return true;
  }

  bool integer(long& v) {
    bool negative = sign();
    if (!is_digit(peek())) return fail("not a number: an exponent that is not an integer");
    for (v = 0; is_digit(peek()); at_++) {
      v = v * 10 + (peek() - '0');
      if (v > kMaxExponent) return fail("exponent beyond the limit");
    }
    if (negative) v = -v;
    return true;
  }

  static void times_ten_to(mpq_class& v, long exponent) {
    mpz_class p;
    mpz_ui_pow_ui(p.get_mpz_t(), 10, static_cast<unsigned long>(exponent < 0 ? -exponent : exponent));
    if (exponent < 0) {
      v /= p;
    } else {
      v *= p;
    }
  }

  // v is whole and a proper fraction follows: 2\frac{1}{2}, 2 1/2.
  bool mixed(mpq_class& v, int depth) {
    size_t before = at_;
    skip(depth == 0 ? " {}" : " ");  // inside a fraction a brace ends the number
    mpq_class part;
    bool whole = false, found = false;
    if (peek() == kFraction) {
      found = fraction(part, depth);
    } else if (at_ > before && is_digit(peek()) && decimal(part, whole) && whole && take('/')) {
      mpq_class below;
      found = decimal(below, whole) && whole && below != 0;
      if (found) part /= below;
    }
    if (found && part > 0 && part < 1) {
      v += part;
      return true;
    }
    at_ = before;
    return false;
  }

  bool power(mpq_class& v) {
    if (peek() != '^' || peek(1) == kDegree || (peek(1) == '{' && peek(2) == kDegree)) return true;
    at_++;
    bool brace = take('{');
    long e = 0;
    if (!integer(e)) return false;
    if (brace && !take('}')) return fail("not a number: an exponent that is not an integer");
    if (v == 0 && e <= 0) return fail("zero to a power that is not positive");
    unsigned long n = static_cast<unsigned long>(e < 0 ? -e : e);
    size_t bits = mpz_sizeinbase(v.get_num_mpz_t(), 2) + mpz_sizeinbase(v.get_den_mpz_t(), 2);
    if (bits * n > kMaxPowerBits) return fail("exponent beyond the limit");
    mpz_class above, below;
    mpz_pow_ui(above.get_mpz_t(), v.get_num_mpz_t(), n);
    mpz_pow_ui(below.get_mpz_t(), v.get_den_mpz_t(), n);
    v = e < 0 ? mpq_class(below, above) : mpq_class(above, below);
    v.canonicalize();
    return true;
  }

  bool scientific(mpq_class& v) {  // ... x 10^k
    size_t before = at_;
    skip(" \b");
    if (!take(kTimes)) {
      at_ = before;
      return true;
    }
    skip(" \b");
    if (peek() != '1' || peek(1) != '0' || peek(2) != '^') return fail("not a number: a product");
    at_ += 2;
    mpq_class ten = 10;
    if (!power(ten)) return false;
    v *= ten;
    return true;
  }

  // Everything that is left: scale words, percent in words, a unit, a full stop.
  bool unit(Quantity& q) {
    bool spaced = at_ > 0 && (s_[at_ - 1] == ' ' || s_[at_ - 1] == '{' || s_[at_ - 1] == '}'), in_text = false;
    std::string words;
    for (size_t count = 0; at_ < s_.size();) {
      char c = peek();
      if (c == kText) {
        in_text = true;
        at_++;
      } else if (is_letter(c)) {
        std::string word;
        while (is_letter(peek())) word += static_cast<char>(std::tolower(static_cast<unsigned char>(s_[at_++])));
        if (!unit_word(q, word, count++ == 0, spaced || in_text, in_text, words)) return false;
      } else if (c == kDegree) {
        words += words.empty() ? "degree" : " degree";
        at_++;
      } else if (c == '^' && (peek(1) == '2' || peek(1) == '3' || peek(1) == '{' || peek(1) == kDegree)) {
        if (!unit_power(words)) return false;
      } else if (c == kSquare && !words.empty()) {
        at_++;
      } else if (std::string_view(" .,;*_`\"'/{}-\b").find(c) != std::string_view::npos) {
        // A slash or hyphen joins the words of a unit (km/h); a digit behind either is refused below.
        spaced = true;
        at_++;
      } else {
        return fail("not a number: more than a number and a unit");
      }
    }
    if (!words.empty() && q.unit.empty()) q.unit = words;
    return true;
  }

  bool unit_power(std::string& words) {  // cm^2, cm^{3}, 90^\circ
    at_++;
    bool brace = take('{');
    if (take(kDegree)) {
      words += "degree";
    } else if (words.empty() || !(take('2') || take('3'))) {
      return fail("not a number: more than a number and a unit");
    }
    return !brace || take('}') || fail("not a number: more than a number and a unit");
  }

  bool unit_word(Quantity& q, std::string word, bool first, bool spaced, bool in_text, std::string& words) {
    static constexpr std::array<std::pair<std::string_view, long>, 4> kScales{
        {{"thousand", 3}, {"million", 6}, {"billion", 9}, {"trillion", 12}}};
    static constexpr std::array<std::string_view, 37> kNotUnits{
        "or",    "and",       "to",       "but",   "not",       "either",  "maybe",  "nor",   "plus",    "minus",
        "times", "hundred",   "hundreds", "dozen", "dozens",    "half",    "halves", "third", "thirds",  "quarter",
        "over",  "more",      "less",     "than",  "remainder", "with",    "if",     "point", "between", "squared",
        "cubed", "factorial", "mod",      "is",    "otherwise", "through", "versus"};
    static constexpr std::array<std::string_view, 28> kShort{
        "km",  "cm",  "mm", "nm",  "kg",  "mg",  "ml",  "lb", "lbs", "oz", "ft", "in", "yd", "mi",
        "min", "sec", "hr", "hrs", "mph", "kph", "kmh", "sq", "of",  "am", "pm", "gb", "mb", "usd"};
    bool known = std::find(kShort.begin(), kShort.end(), word) != kShort.end();
    if (std::find(kNotUnits.begin(), kNotUnits.end(), word) != kNotUnits.end()) {
      return fail("not a number: words that are not a unit");
    }
    if (first && (word == "percent" || word == "percentage" || word == "pct")) {
      q.percent = true;
      return true;
    }
    auto scale = std::find_if(kScales.begin(), kScales.end(), [&](const auto& s) { return s.first == word; });
    if (first && scale != kScales.end()) {
      times_ten_to(q.value, scale->second);
      return true;
    }
    // One or two letters, or letters stuck to the digits, are variables (4t, 3xy) unless they are known or set as text.
    if (first && !known && !in_text && (word.size() < 3 || !spaced))
      return fail("not a number: an expression with letters");
    if (words.size() + word.size() > 48) return fail("not a number: prose behind it");
    if (word == "usd") word = "dollar";
    if (word.size() > 3 && word.back() == 's') word.pop_back();
    words += (words.empty() ? "" : " ") + word;
    return true;
  }

  std::string_view s_;
  std::string& why_;
  size_t at_ = 0;
};

}  // namespace

std::optional<Quantity> parse_quantity(std::string_view text, std::string& why) {
  why.clear();
  if (text.size() > kMaxNumberText) {
    why = "longer than " + std::to_string(kMaxNumberText) + " characters";
    return std::nullopt;
  }
  std::string s;
  if (!plain(text, s)) {
    why = "not a number";
    return std::nullopt;
  }
  Quantity q;
  if (!Parser(s, why).quantity(q)) return std::nullopt;
  return q;
}

bool same_quantity(const Quantity& a, const Quantity& b) {
  bool units_agree = a.unit.empty() || b.unit.empty() || a.unit == b.unit;
  return a.percent == b.percent && units_agree && a.value == b.value;
}

}  // namespace fulmen::reward
