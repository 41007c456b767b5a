#include "reward/math_number.h"

#include <gtest/gtest.h>

#include <random>

namespace fulmen::reward {
namespace {

std::string value_of(const std::string& text) {  // "num/den", with % behind and [unit]; or "-"
  std::string why;
  auto q = parse_quantity(text, why);
  if (!q) {
    EXPECT_FALSE(why.empty()) << text;
    return "-";
  }
  return q->value.get_str() + (q->percent ? "%" : "") + (q->unit.empty() ? "" : " [" + q->unit + "]");
}

struct Case {
  const char *text, *value;
};

TEST(MathNumber, ReadsWhatPeopleWrite) {
  const Case cases[] = {
      {"42", "42"},
      {"-7", "-7"},
      {"+7", "7"},
      {"\u22127", "-7"},
      {"- 7", "-7"},
      {"007", "7"},
      {"1,234", "1234"},
      {"1,234,567.5", "2469135/2"},
      {"10{,}000", "10000"},
      {"10\\,000", "10000"},
      {"10,\\!000", "10000"},
      {"10\u202f000", "10000"},
      {"0.50", "1/2"},
      {".5", "1/2"},
      {"5.", "5"},
      {"3/4", "3/4"},
      {"-3 / 4", "-3/4"},
      {"1.5/2", "3/4"},
      {"\\frac{3}{4}", "3/4"},
      {"\\dfrac{-3}{4}", "-3/4"},
      {"-\\tfrac{3}{-4}", "3/4"},
      {"\\frac12", "1/2"},
      {"\\frac{1}{\\frac{1}{2}}", "2"},
      {"\\frac{2}{1\\frac{1}{2}}", "4/3"},
      {"\\frac{1}{2/4}", "2"},
      {"1/{2}", "1/2"},
      {"\\frac{1{,}000}{3}", "1000/3"},
      {"2\\frac{1}{2}", "5/2"},
      {"-2\\frac12", "-5/2"},
      {"2 1/2", "5/2"},
      {"\u00bd", "1/2"},
      {"2\u00bd", "5/2"},
      {"2^{10}", "1024"},
      {"2^-2", "1/4"},
      {"\\frac{1}{2^{3}}", "1/8"},
      {"1e3", "1000"},
      {"1.5E-1", "3/20"},
      {"1.5 \\times 10^{3}", "1500"},
      {"2\\cdot10^3", "2000"},
      {"5 million", "5000000"},
      {"2.5 billion dollars", "2500000000 [dollar]"},
      {"50\\%", "50%"},
      {"50 %", "50%"},
      {"12.5 percent", "25/2%"},
      {"\\$5", "5 [dollar]"},
      {"$5", "5"},
      {"-\\$5.25", "-21/4 [dollar]"},
      {"\\$-5", "-5 [dollar]"},
      {"\u20ac5", "5 [euro]"},
      {"5 dollars", "5 [dollar]"},
      {"18 eggs.", "18 [egg]"},
      {"10 \\text{ cm}", "10 [cm]"},
      {"10\\mathrm{m}", "10 [m]"},
      {"10 cm^2", "10 [cm]"},
      {"60 km/h", "60 [km h]"},
      {"90^\\circ", "90 [degree]"},
      {"90^{\\circ}", "90 [degree]"},
      {"90\u00b0", "90 [degree]"},
      {"$42$", "42"},
      {"\\(42\\)", "42"},
      {"**42**", "42"},
      {"`42`.", "42"},
      {"{42}", "42"},
      {"\\boxed{42}", "42"},
      {"\\text{42}", "42"},
      {"x = 42", "42"},
      {"= 42", "42"},
      {"  42\n", "42"},
  };
  for (const Case& c : cases) EXPECT_EQ(value_of(c.text), c.value) << c.text;
}

TEST(MathNumber, RefusesWhatIsNotOneNumber) {
  for (const char* text : {"",
                           " ",
                           "abc",
                           "-",
                           "--5",
                           "1 or 2",
                           "1 and 2",
                           "1, 2",
                           "1,2",
                           "12,34",
                           "1,2345",
                           "1234,567",
                           "1 2",
                           "1-100",
                           "1+1",
                           "17*2",
                           "2 \\times 3",
                           "2^{2^{2}}",
                           "2^x",
                           "2^{0.5}",
                           "33 = 34",
                           "17*3=34",
                           "x=y=5",
                           "\\{1,2\\}",
                           "(1,2)",
                           "[34]",
                           "\\pm 5",
                           "\\approx 34",
                           "x \\ge 34",
                           "4t",
                           "4x",
                           "3xy",
                           "7\\pi",
                           "5i",
                           "\\sqrt{2}",
                           "5!",
                           "7:32",
                           "12:00",
                           "1/2/3",
                           "1/0",
                           "\\frac{1}{0}",
                           "\\frac{1}",
                           "\\frac{}{2}",
                           "\\frac{x}{2}",
                           "0^0",
                           "0^{-1}",
                           "5 feet 6 inches",
                           "2 dozen",
                           "34 or more",
                           "5 with remainder 2",
                           "34 (approximately)",
                           "about 34",
                           "1.2.3",
                           "0x10",
                           "1_000",
                           "\\infty",
                           "nan",
                           "inf",
                           "\uff13\uff14",
                           "\u202e43\u202c",
                           "(lambda: 34)()",
                           "5 5\\%",
                           "\\$5\\%"}) {
    EXPECT_EQ(value_of(text), "-") << text;
  }
}

TEST(MathNumber, ExpensiveInputIsRefusedNotComputed) {
  std::string why;
  for (const char* text : {"10^{999999999999999999999}", "1e999999999", "1e5000", "9^{4096000}",
                           "\\frac{1}{2^{100000}}", "123456789012345678901234567890^{4000}"}) {
    EXPECT_FALSE(parse_quantity(text, why)) << text;
    EXPECT_EQ(why, "exponent beyond the limit") << text;
  }
  EXPECT_FALSE(parse_quantity(std::string(100000, '9'), why));
  EXPECT_EQ(why, "longer than 512 characters");
  std::string nested = "1";
  for (int i = 0; i < 20; i++) nested = "\\frac{1}{" + nested + "}";
  EXPECT_FALSE(parse_quantity(nested, why));
  EXPECT_EQ(why, "fractions nested too deep");
  EXPECT_TRUE(parse_quantity("10^{4096}", why));
}

bool same(const std::string& a, const std::string& b) {
  std::string why;
  auto x = parse_quantity(a, why), y = parse_quantity(b, why);
  return x && y && same_quantity(*x, *y) && same_quantity(*y, *x);
}

TEST(MathNumber, EqualityIsExact) {
  EXPECT_TRUE(same("0.5", "\\frac{1}{2}"));
  EXPECT_TRUE(same("18.0", "18"));
  EXPECT_TRUE(same("1,234", "1234"));
  EXPECT_TRUE(same("\\frac{2}{4}", "1/2"));
  EXPECT_FALSE(same("0.333333333333333333", "1/3"));
  EXPECT_FALSE(same("123456789012345678901", "123456789012345678902"));
  EXPECT_FALSE(same("0.0000001", "0"));
  EXPECT_FALSE(same("\\frac{1}{2^{99}}", "\\frac{1}{2^{98}}"));
  EXPECT_FALSE(same("1000099", "1000000"));
}

TEST(MathNumber, PercentAndUnitsMustNotContradict) {
  EXPECT_TRUE(same("50\\%", "50%"));
  EXPECT_FALSE(same("50\\%", "50"));
  EXPECT_FALSE(same("50\\%", "0.5"));
  EXPECT_TRUE(same("\\$5", "5"));
  EXPECT_TRUE(same("\\$5", "5 dollars"));
  EXPECT_TRUE(same("18 eggs", "18"));
  EXPECT_FALSE(same("10 cm", "10 km"));
}

// Random edits of valid spellings: no crash, no hang, and whatever is read equals itself.
TEST(MathNumber, SurvivesMutatedInput) {
  const std::string seeds[] = {
      "1,234.5", "-2\\frac{1}{2^{10}}", "\\$5.25 million",          "1.5 \\times 10^{-30}",
      "50\\%",   "\\text{ cm}^2",       "x = \\dfrac{-3}{4}\\,000", "\u00bd\u2212\u202f90^{\\circ}",
      "9e99^9/7"};
  const std::string pieces[] = {"{",      "}",       "\\", "^", "/", ",", ".", "9",    "0",    "-",
                                "\\frac", "\\text{", "e",  " ", "$", "=", "%", "\xe2", "\x80", std::string(1, '\0')};
  std::mt19937 g(1);
  std::string why;
  int readable = 0;
  for (int i = 0; i < 60000; i++) {
    std::string s = seeds[g() % std::size(seeds)];
    for (uint32_t edits = g() % 6; edits > 0; edits--) {
      size_t at = s.empty() ? 0 : g() % s.size();
      switch (g() % 3) {
        case 0:
          s.insert(at, pieces[g() % std::size(pieces)]);
          break;
        case 1:
          s.erase(at, 1 + g() % 3);
          break;
        default:
          s += s.substr(at, g() % 8);
      }
    }
    auto q = parse_quantity(s, why);
    if (!q) continue;
    readable++;
    ASSERT_TRUE(same_quantity(*q, *q)) << s;
    ASSERT_NE(q->value.get_den(), 0) << s;
  }
  EXPECT_GT(readable, 5000);
}

}  // namespace
}  // namespace fulmen::reward
