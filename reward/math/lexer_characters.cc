// Characters beyond ASCII.
#include <unordered_map>

#include "reward/math/lexer_state.h"

namespace fulmen::reward::math {
namespace {

// One character beyond ASCII: what it stands for in LaTeX or plain text.
const std::unordered_map<uint32_t, std::string_view>& unicode() {
  // clang-format off
  static const std::unordered_map<uint32_t, std::string_view> kUnicode{
      {0xa0, " "}, {0x2002, " "}, {0x2003, " "}, {0x2009, "\\,"}, {0x202f, "\\,"}, {0x200a, " "}, {0x3000, " "},
      {0x200b, ""}, {0xfeff, ""}, {0x200d, ""}, {0x200c, ""}, {0x2060, ""}, {0x2061, ""}, {0x2062, ""},
      {0x2212, "-"}, {0x2013, "-"}, {0x2014, "-"}, {0x2010, "-"}, {0x2011, "-"}, {0xd7, "*"}, {0x22c5, "*"},
      {0xb7, "*"}, {0x2219, "*"}, {0x2217, "*"}, {0x2022, "*"}, {0xf7, "/"}, {0x2044, "/"}, {0x2215, "/"},
      {0x2264, "\\le "}, {0x2265, "\\ge "}, {0x2a7d, "\\le "}, {0x2a7e, "\\ge "}, {0x2260, "\\ne "},
      {0x2248, "\\approx "}, {0x2243, "\\approx "}, {0x223c, "\\sim "}, {0x2208, "\\in "}, {0x2209, "\\notin "},
      {0x222a, "\\cup "}, {0x2229, "\\cap "}, {0x2216, "\\setminus "}, {0x221e, "\\infty "}, {0x3c0, "\\pi "},
      {0x221a, "\\sqrt "}, {0xb0, "\\degree "}, {0xba, "\\degree "}, {0xb1, "\\pm "}, {0x2213, "\\mp "},
      {0x2205, "\\emptyset "}, {0x211d, "\\R "}, {0x2124, "\\Z "}, {0x2115, "\\N "}, {0x211a, "\\Q "},
      {0x2102, "\\C "}, {0x2192, "\\to "}, {0x21d2, "\\to "}, {0x2282, "\\subset "}, {0x2286, "\\subset "},
      {0x2283, "\\supset "}, {0x2287, "\\supset "}, {0x2220, "\\angle "}, {0x25b3, "\\triangle "},
      {0x2227, "\\land "}, {0x2228, "\\lor "}, {0xac, "\\neg "}, {0x2261, "\\equiv "}, {0x2223, "|"}, {0x2032, "'"},
      {0x2019, "'"}, {0x2018, "'"}, {0x201c, "\""}, {0x201d, "\""}, {0x2026, "\\dots "}, {0x22ef, "\\dots "},
      {0x20ac, "\\euro "}, {0xa3, "\\pounds "}, {0xa5, "\\yen "}, {0x20b9, "\\rupee "}, {0x20a9, "\\won "}, {0xa2, " cents "}, {0x2030, "\\unknown "}, {0x221b, "\\sqrt[3]"},
      {0x2308, "\\lceil "}, {0x2309, "\\rceil "}, {0x230a, "\\lfloor "}, {0x230b, "\\rfloor "}, {0x27e8, "("},
      {0x27e9, ")"}, {0x2211, "\\sum "}, {0x220f, "\\prod "}, {0x222b, "\\int "}, {0xb5, "\\mu "},
      {0x3b1, "\\alpha "}, {0x3b2, "\\beta "}, {0x3b3, "\\gamma "}, {0x3b4, "\\delta "}, {0x3b5, "\\epsilon "},
      {0x3b6, "\\zeta "}, {0x3b7, "\\eta "}, {0x3b8, "\\theta "}, {0x3ba, "\\kappa "}, {0x3bb, "\\lambda "},
      {0x3bc, "\\mu "}, {0x3bd, "\\nu "}, {0x3be, "\\xi "}, {0x3c1, "\\rho "}, {0x3c3, "\\sigma "},
      {0x3c4, "\\tau "}, {0x3c6, "\\phi "}, {0x3d5, "\\phi "}, {0x3c7, "\\chi "}, {0x3c8, "\\psi "},
      {0x3c9, "\\omega "}, {0x394, "\\Delta "}, {0x3a9, "\\Omega "}, {0x3a3, "\\Sigma "}, {0x3a6, "\\Phi "},
      {0x393, "\\Gamma "}, {0x2070, "^{0}"}, {0xb9, "^{1}"}, {0xb2, "^{2}"}, {0xb3, "^{3}"}, {0x2074, "^{4}"},
      {0x2075, "^{5}"}, {0x2076, "^{6}"}, {0x2077, "^{7}"}, {0x2078, "^{8}"}, {0x2079, "^{9}"}, {0x207f, "^{n}"},
      {0x2080, "_{0}"}, {0x2081, "_{1}"}, {0x2082, "_{2}"}, {0x2083, "_{3}"}, {0x2084, "_{4}"}, {0x2085, "_{5}"},
      {0x2086, "_{6}"}, {0x2087, "_{7}"}, {0x2088, "_{8}"}, {0x2089, "_{9}"}, {0x3001, ","}, {0xff64, ","},
      {0x3002, "."}};
  // clang-format on
  return kUnicode;
}

}  // namespace

bool spelled_in_ascii(uint32_t c, std::string_view& text) {
  auto found = unicode().find(c);
  if (found == unicode().end()) return false;
  text = found->second;
  return true;
}

// What the character is as an exponent or an index; 0 for anything else.
char raised_digit(uint32_t c) {
  if (c == 0xb9) return '1';
  if (c == 0xb2 || c == 0xb3) return static_cast<char>('2' + (c - 0xb2));
  if (c == 0x2070 || (c >= 0x2074 && c <= 0x2079)) return static_cast<char>('0' + (c - 0x2070));
  return c == 0x207b ? '-' : '\0';
}

char lowered_digit(uint32_t c) { return c >= 0x2080 && c <= 0x2089 ? static_cast<char>('0' + (c - 0x2080)) : '\0'; }

bool is_direction_override(uint32_t c) { return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069); }

std::string_view vulgar_fraction(uint32_t c) {
  static const std::unordered_map<uint32_t, std::string_view> kFractions{
      {0xbd, "1/2"},   {0xbc, "1/4"},   {0xbe, "3/4"},   {0x2153, "1/3"}, {0x2154, "2/3"}, {0x2155, "1/5"},
      {0x2156, "2/5"}, {0x2157, "3/5"}, {0x2158, "4/5"}, {0x2159, "1/6"}, {0x215a, "5/6"}, {0x215b, "1/8"},
      {0x215c, "3/8"}, {0x215d, "5/8"}, {0x215e, "7/8"}, {0x2150, "1/7"}, {0x2151, "1/9"}, {0x2152, "1/10"}};
  auto found = kFractions.find(c);
  return found == kFractions.end() ? std::string_view() : found->second;
}

uint32_t decode(std::string_view s, size_t& length) {
  auto byte = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  uint32_t c = byte(0);
  length = 1;
  if (c < 0x80) return c;
  size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
  if (want == 0) return 0xfffd;
  uint32_t value = c & (0xffu >> (want + 1));
  for (size_t i = 1; i < want; i++) {
    if ((byte(i) & 0xc0) != 0x80) return 0xfffd;
    value = value << 6 | (byte(i) & 0x3f);
  }
  length = want;
  return value;
}

}  // namespace fulmen::reward::math
