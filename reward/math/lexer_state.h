#pragma once
// The lexer's own: shared by lexer.cc (characters, numbers, words), lexer_command.cc (what begins with a backslash) and
// lexer_characters.cc (beyond ASCII).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "reward/math/lexer.h"

namespace fulmen::reward::math {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// What a character beyond ASCII stands for in LaTeX or plain text; false when nothing is known of it.
bool spelled_in_ascii(uint32_t c, std::string_view& text);
std::string_view vulgar_fraction(uint32_t c);  // 1/2 for the one character; empty for anything else
bool is_direction_override(uint32_t c);
char raised_digit(uint32_t c);   // of an exponent in one character, and a minus; 0 for anything else
char lowered_digit(uint32_t c);  // of an index

// The next character of UTF-8 and its length; a broken one is one byte of U+FFFD.
uint32_t decode(std::string_view s, size_t& length);

class Lexer {
 public:
  Lexer(std::vector<Token>& tokens, std::string& why) : out_(tokens), why_(why) {}
  bool run(std::string_view text);

 private:
  bool fail(const char* why);
  char peek(size_t ahead = 0) const { return at_ + ahead < s_.size() ? s_[at_ + ahead] : '\0'; }
  Token& push(Tok kind, int code = 0, std::string_view text = {});
  bool all(bool in_text, int depth);
  bool one(int depth);
  bool previous_is_dot() const;
  bool ascii(char c);
  bool relation(char c);
  bool beyond_ascii(int depth);
  // A run of raised or of lowered digits: ^{10}, _{12}. False when there is none.
  bool small_digits(int depth);
  // Tokens of another text in the place of this one.
  bool inner(std::string_view text, bool in_text, int depth);
  size_t digits_from(size_t at) const;
  // Length of a separator of thousands at `at`, when three digits and no more follow it; 0 otherwise.
  size_t separator_at(size_t at, bool& comma) const;
  bool number();
  // \overline{digits} at `at`: length of what stands before the digits.
  size_t repeating_at(size_t at) const;
  // Digits behind the point that go on for ever: 0.333..., 0.(3), 0.\\dot{1}2\\dot{3}.
  void endless(std::string& text);
  size_t dots_at(size_t at) const;  // length of "..." and its like at `at`
  // 1.234.567: length of the groups behind the first; 0 when there are no two of them.
  size_t points_of_thousands(size_t at) const;
  // 1.5E3, 1e-7. A small e with a plus and one digit (2e+1) may as well be Euler's number: not read as an exponent.
  void exponent(std::string& text);
  bool letters();
  void plain_run(std::string_view run);
  // sinx, ln2x: a function's name with its argument stuck to it.
  bool function_prefix(std::string_view run);

  bool command(int depth);
  bool escaped();
  // \\ is a new row, or a backslash that was escaped once too often: \\frac.
  bool row_break();
  bool named(std::string_view name, int depth);
  // \\vertx: a delimiter's name with what it encloses stuck to it. True when its tokens were made.
  bool glued_delimiter(std::string_view name, int depth);
  // A command that is only dress; \left and \right give the bar behind them a side.
  bool dropped(std::string_view name);
  // What stands in the braces that follow; empty when there are none.
  std::string_view braced();
  bool text_argument(std::string_view name, int depth);

  std::vector<Token>& out_;
  std::string& why_;
  std::string_view s_;
  size_t at_ = 0;
  int brackets_ = 0;
  bool space_ = false, in_text_ = false, odd_dollars_ = false;
};

}  // namespace fulmen::reward::math
