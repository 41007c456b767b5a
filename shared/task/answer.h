#pragma once
// Where a response says its final answer, and how answers are read. All work is linear in the text.
//
// The convention, one for every kind: the final answer stands between <answer> and </answer>, behind the reasoning.
//   1. Everything up to the last </think> is cut. A <think> that is not closed: no answer.
//   2. Of several <answer> blocks the last counts, if all say the same (white space aside). Different ones are hedging:
//      no answer. A block that is not closed, or opened inside another: no answer.
//   3. A block longer than kMaxAnswer bytes, or empty: no answer.
//   4. A code fence around all that stands between the tags is dress. Outside them code fences, Python lists, \boxed{}
//      and the like are no answers: one form, so that nobody is paid for guessing which.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fulmen::task {

constexpr size_t kMaxAnswer = 16384;

struct FinalAnswer {
  std::optional<std::string_view> text;  // trimmed
  std::string why;                       // set when there is none
};
FinalAnswer final_answer(std::string_view response);
// What follows the last "####" on its line; arithmetic's form. Several different ones: none.
FinalAnswer answer_after_hashes(std::string_view response);

std::string_view trimmed(std::string_view s);
std::string folded(std::string_view s);  // ASCII lower case, white space to single blanks, trimmed
std::string without_blanks(std::string_view s);
bool same_text(std::string_view a, std::string_view b);

// Pieces between white space, commas, semicolons, brackets, quotes and bars: so grids may be written with any of them.
std::vector<std::string> pieces(std::string_view s);
// Pieces between commas, semicolons and line ends, each folded; empty ones are left out.
std::vector<std::string> list_items(std::string_view s);

std::optional<int64_t> integer(std::string_view s);            // all of it, optional sign, at most 18 digits
std::optional<std::vector<int>> integers(std::string_view s);  // every piece an integer of at most 9 digits

using Words = std::vector<std::vector<std::string>>;  // a grid of cells
using Numbers = std::vector<std::vector<int>>;
// rows x columns cells. One character a cell needs no separators. Nothing else than cells may stand there.
std::optional<Words> read_grid(std::string_view s, size_t rows, size_t columns);
std::optional<Numbers> read_number_grid(std::string_view s, size_t rows, size_t columns);

std::string grid_text(const Words& grid);    // cells by blanks, rows by line ends
std::string grid_text(const Numbers& grid);  // 0 is written as "."
std::string join(const std::vector<std::string>& items, const std::string& separator);

}  // namespace fulmen::task
