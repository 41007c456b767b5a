#include "reward/math/units.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

namespace fulmen::reward::math {
namespace {

struct Measure {
  char kind;  // length l, area a (composed below), mass m, time t, volume v, money d, angle is handled elsewhere
  long numerator, denominator;
};

// In metres, grams, seconds, litres, dollars, bytes.
const std::unordered_map<std::string_view, Measure>& measures() {
  static const std::unordered_map<std::string_view, Measure> kMeasures{{"m", {'l', 1, 1}},
                                                                       {"km", {'l', 1000, 1}},
                                                                       {"cm", {'l', 1, 100}},
                                                                       {"mm", {'l', 1, 1000}},
                                                                       {"dm", {'l', 1, 10}},
                                                                       {"inch", {'l', 254, 10000}},
                                                                       {"ft", {'l', 3048, 10000}},
                                                                       {"yd", {'l', 9144, 10000}},
                                                                       {"mile", {'l', 1609344, 1000}},
                                                                       {"g", {'m', 1, 1}},
                                                                       {"kg", {'m', 1000, 1}},
                                                                       {"mg", {'m', 1, 1000}},
                                                                       {"lb", {'m', 45359237, 100000}},
                                                                       {"oz", {'m', 45359237, 1600000}},
                                                                       {"ton", {'T', 1, 1}},
                                                                       {"sec", {'t', 1, 1}},
                                                                       {"minute", {'t', 60, 1}},
                                                                       {"hour", {'t', 3600, 1}},
                                                                       {"day", {'t', 86400, 1}},
                                                                       {"week", {'t', 604800, 1}},
                                                                       {"liter", {'v', 1, 1}},
                                                                       {"ml", {'v', 1, 1000}},
                                                                       {"gallon", {'G', 1, 1}},
                                                                       {"quart", {'G', 1, 4}},
                                                                       {"pint", {'G', 1, 8}},
                                                                       {"cup", {'G', 1, 16}},
                                                                       {"dollar", {'d', 1, 1}},
                                                                       {"cent", {'d', 1, 100}},
                                                                       {"am", {'A', 1, 1}},
                                                                       {"pm", {'P', 1, 1}},
                                                                       {"year", {'y', 12, 1}},
                                                                       {"month", {'y', 1, 1}},
                                                                       {"euro", {'e', 1, 1}},
                                                                       {"sterling", {'s', 1, 1}},
                                                                       {"yen", {'Y', 1, 1}},
                                                                       {"rupee", {'r', 1, 1}},
                                                                       {"won", {'w', 1, 1}},
                                                                       {"celsius", {'C', 1, 1}},
                                                                       {"fahrenheit", {'F', 1, 1}},
                                                                       {"n", {'N', 1, 1}},
                                                                       {"j", {'J', 1, 1}},
                                                                       {"kj", {'J', 1000, 1}},
                                                                       {"w", {'W', 1, 1}},
                                                                       {"kw", {'W', 1000, 1}},
                                                                       {"volt", {'V', 1, 1}},
                                                                       {"pa", {'p', 1, 1}},
                                                                       {"kpa", {'p', 1000, 1}},
                                                                       {"hz", {'H', 1, 1}},
                                                                       {"khz", {'H', 1000, 1}}};
  return kMeasures;
}

const std::unordered_map<std::string_view, std::string_view>& aliases() {
  static const std::unordered_map<std::string_view, std::string_view> kAliases{
      {"meter", "m"},        {"metre", "m"},         {"meters", "m"},        {"metres", "m"},
      {"kilometer", "km"},   {"kilometers", "km"},   {"kilometre", "km"},    {"kilometres", "km"},
      {"centimeter", "cm"},  {"centimeters", "cm"},  {"centimetres", "cm"},  {"millimeter", "mm"},
      {"millimeters", "mm"}, {"in", "inch"},         {"inches", "inch"},     {"feet", "ft"},
      {"foot", "ft"},        {"yard", "yd"},         {"yards", "yd"},        {"mi", "mile"},
      {"miles", "mile"},     {"gram", "g"},          {"grams", "g"},         {"kilogram", "kg"},
      {"kilograms", "kg"},   {"milligrams", "mg"},   {"lbs", "lb"},          {"pound", "lb"},
      {"pounds", "lb"},      {"ounce", "oz"},        {"ounces", "oz"},       {"tons", "ton"},
      {"second", "sec"},     {"seconds", "sec"},     {"s", "sec"},           {"min", "minute"},
      {"mins", "minute"},    {"minutes", "minute"},  {"hr", "hour"},         {"hrs", "hour"},
      {"h", "hour"},         {"hours", "hour"},      {"days", "day"},        {"weeks", "week"},
      {"l", "liter"},        {"liters", "liter"},    {"litre", "liter"},     {"litres", "liter"},
      {"milliliters", "ml"}, {"milliliter", "ml"},   {"gal", "gallon"},      {"gallons", "gallon"},
      {"quarts", "quart"},   {"pints", "pint"},      {"cups", "cup"},        {"dollars", "dollar"},
      {"usd", "dollar"},     {"bucks", "dollar"},    {"cents", "cent"},      {"years", "year"},
      {"months", "month"},   {"deg", "degree"},      {"degrees", "degree"},  {"sq", "square"},
      {"cu", "cubic"},       {"kmh", "km per hour"}, {"kph", "km per hour"}, {"mph", "mile per hour"},
      {"units", "unit"},     {"celsius", "celsius"}, {"euros", "euro"},      {"eur", "euro"},
      {"gbp", "sterling"},   {"rupees", "rupee"},    {"newton", "n"},        {"newtons", "n"},
      {"joule", "j"},        {"joules", "j"},        {"watt", "w"},          {"watts", "w"},
      {"v", "volt"}};
  return kAliases;
}

bool is_filler(std::string_view word) {
  static const std::unordered_set<std::string_view> kFiller{
      "of", "the", "a", "an", "exactly", "about", "total", "in", "is", "are", "there", "approximately", "unit"};
  return kFiller.count(word) != 0;
}

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string fold_word(std::string_view raw) {
  std::string word = lower(raw);
  auto alias = aliases().find(word);
  if (alias != aliases().end()) return std::string(alias->second);
  if (word.size() > 3 && word.back() == 's' && word[word.size() - 2] != 's') word.pop_back();
  return word;
}

// "cm^2", "square cm", "m per sec": the measure and its power, or nothing.
struct Dimension {
  Measure top;
  long power;
  std::optional<Measure> per;
};

std::optional<Dimension> dimension(const std::string& unit) {
  std::istringstream in(unit);
  Dimension d{{0, 0, 1}, 1, std::nullopt};
  bool have_top = false, per = false;
  for (std::string word; in >> word;) {
    if (word == "square" && !have_top) {
      d.power = 2;
      continue;
    }
    if (word == "cubic" && !have_top) {
      d.power = 3;
      continue;
    }
    if (word == "per" && have_top) {
      per = true;
      continue;
    }
    if (word.size() > 2 && word[word.size() - 2] == '^' && (word.back() == '2' || word.back() == '3') && !have_top) {
      d.power = word.back() - '0';
      word.resize(word.size() - 2);
    }
    auto known = measures().find(word);
    if (known == measures().end()) return std::nullopt;
    if (!have_top) {
      d.top = known->second;
      have_top = true;
    } else if (per && !d.per) {
      d.per = known->second;
    } else {
      return std::nullopt;
    }
  }
  if (!have_top) return std::nullopt;
  return d;
}

}  // namespace

mpq_class scale_word(std::string_view word) {
  static const std::unordered_map<std::string, long> kScales{{"dozen", 12},           {"hundred", 100},
                                                             {"thousand", 1000},      {"million", 1000000},
                                                             {"billion", 1000000000}, {"trillion", 1000000000000}};
  auto found = kScales.find(lower(word));
  return found == kScales.end() ? mpq_class(0) : mpq_class(found->second);
}

bool is_no_unit(std::string_view word) {
  static const std::unordered_set<std::string> kNoUnits{
      "to",      "but",      "not",     "either",    "maybe",     "nor",       "plus",      "minus",    "times",
      "hundred", "dozens",   "half",    "halves",    "third",     "thirds",    "quarter",   "quarters", "over",
      "more",    "less",     "than",    "with",      "if",        "point",     "between",   "squared",  "cubed",
      "mod",     "is",       "through", "versus",    "otherwise", "remainder", "factorial", "because",  "since",
      "which",   "where",    "wrong",   "incorrect", "actually",  "instead",   "or",        "no",       "however",
      "perhaps", "possibly", "except",  "without",   "when"};
  std::string folded = lower(word);
  return kNoUnits.count(folded) != 0;
}

std::string fold_unit(std::string_view unit) {
  std::istringstream in{std::string(unit)};
  std::string out;
  for (std::string word; in >> word;) {
    size_t power = word.find('^');
    std::string folded = fold_word(word.substr(0, power));
    if (is_filler(folded)) continue;
    if (power != std::string::npos) folded += word.substr(power);
    if (!out.empty()) out += ' ';
    out += folded;
  }
  if (out == "p m") out = "pm";
  if (out == "a m") out = "am";
  if (out == "square") out.clear();
  return out;
}

UnitMatch match_units(const std::string& a, const std::string& b, mpq_class& factor) {
  factor = 1;
  const bool pounds = (a == "sterling" && b == "lb") || (a == "lb" && b == "sterling");  // 5 pounds may be money
  if (a == b || pounds) return UnitMatch::kSame;
  std::optional<Dimension> x = dimension(a), y = dimension(b);
  if (!x || !y) return UnitMatch::kUnrelated;
  if (x->top.kind != y->top.kind || x->power != y->power || x->per.has_value() != y->per.has_value())
    return UnitMatch::kClash;
  if (x->per && x->per->kind != y->per->kind) return UnitMatch::kClash;
  auto size = [](const Measure& m) {
    mpq_class q(m.numerator, m.denominator);
    q.canonicalize();
    return q;
  };
  for (long i = 0; i < x->power; i++) factor *= size(x->top) / size(y->top);
  if (x->per) factor *= size(*y->per) / size(*x->per);
  return factor == 1 ? UnitMatch::kSame : UnitMatch::kConvertible;
}

std::string fold_words(const std::vector<Token>& tokens, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; i++) {
    const Token& t = tokens[i];
    std::string part;
    bool glued = false;
    switch (t.kind) {
      case Tok::kWord:
      case Tok::kFunction:
        part = t.text.size() > 1 ? lower(t.text) : t.text;
        break;
      case Tok::kLetter:
        part = t.text;
        glued = !t.space && i > begin && tokens[i - 1].kind == Tok::kLetter;
        if (glued && !out.empty()) {  // II is a word as any other
          out.back() = static_cast<char>(std::tolower(static_cast<unsigned char>(out.back())));
          part = lower(part);
        }
        break;
      case Tok::kNumber:
        part = t.text;
        break;
      case Tok::kSign:
        if (t.is(kOrSign)) part = "or";
        if (t.is(kAndSign)) part = "and";
        if (t.is(kInSign)) part = "in";
        if (t.code < kFirstSign &&
            std::string_view(",;:.'\"()[]{}-").find(static_cast<char>(t.code)) == std::string_view::npos)
          part = std::string(1, static_cast<char>(t.code));
        if (t.code >= kFirstSign && part.empty()) part = fmt::format("#{}", t.code);
        break;
      default:
        break;
    }
    if (part.empty()) continue;
    if (!out.empty() && !glued) out += ' ';
    out += part;
  }
  return out;
}

NodeId phrase(Tree& tree, const std::string& folded) {
  static const std::unordered_map<std::string_view, long> kNumbers{
      {"zero", 0},      {"one", 1},       {"two", 2},       {"three", 3},    {"four", 4},     {"five", 5},
      {"six", 6},       {"seven", 7},     {"eight", 8},     {"nine", 9},     {"ten", 10},     {"eleven", 11},
      {"twelve", 12},   {"thirteen", 13}, {"fourteen", 14}, {"fifteen", 15}, {"sixteen", 16}, {"seventeen", 17},
      {"eighteen", 18}, {"nineteen", 19}, {"twenty", 20}};
  static const std::unordered_set<std::string_view> kEmpty{
      "no solution", "no solutions", "no real solution",   "no real solutions",    "empty set",     "the empty set",
      "null set",    "none",         "no solution exists", "there is no solution", "no real roots", "no such x"};
  static const std::unordered_set<std::string_view> kReals{"all real numbers",
                                                           "all reals",
                                                           "all real",
                                                           "real numbers",
                                                           "the set of all real numbers",
                                                           "any real number",
                                                           "the real numbers",
                                                           "set of all real numbers",
                                                           "reals"};
  static const std::unordered_set<std::string_view> kUndefined{"undefined", "does not exist", "dne", "not defined",
                                                               "nonexistent"};
  static const std::unordered_map<std::string_view, long> kTens{{"thirty", 30}, {"forty", 40},   {"fifty", 50},
                                                                {"sixty", 60},  {"seventy", 70}, {"eighty", 80},
                                                                {"ninety", 90}, {"twenty", 20}};
  auto number = kNumbers.find(folded);
  if (number != kNumbers.end()) return tree.integer(number->second);
  const size_t blank = folded.find(' ');  // twenty one
  const auto tens = kTens.find(std::string_view(folded).substr(0, blank));
  if (tens != kTens.end()) {
    const auto ones = kNumbers.find(blank == std::string::npos ? "zero" : std::string_view(folded).substr(blank + 1));
    if (ones != kNumbers.end() && ones->second < 10) return tree.integer(tens->second + ones->second);
  }
  if (kEmpty.count(folded) != 0) return tree.add(Op::kNamedSet, {}, '0');
  if (kReals.count(folded) != 0) return tree.add(Op::kNamedSet, {}, 'R');
  if (kUndefined.count(folded) != 0) return tree.text("undefined");
  if (folded.size() == 1) {
    return folded[0] == 'e' ? tree.add(Op::kE, {}) : folded[0] == 'i' ? tree.add(Op::kI, {}) : tree.symbol(folded);
  }
  return tree.text(folded);
}

}  // namespace fulmen::reward::math
