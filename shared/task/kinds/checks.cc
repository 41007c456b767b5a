#include <algorithm>

#include "shared/task/kinds/kinds.h"

namespace fulmen::task {

Check check_text(const Question& q, std::string_view answer) {
  return folded(answer) == folded(q.gold) ? right() : wrong("not the expected text");
}

Check check_list(const Question& q, std::string_view answer) {
  const auto got = list_items(answer), want = list_items(q.gold);
  if (got.size() != want.size()) return wrong(fmt::format("{} items, want {}", got.size(), want.size()));
  for (size_t i = 0; i < got.size(); ++i)
    if (got[i] != want[i]) return wrong(fmt::format("item {} is not the expected one", i + 1));
  return right();
}

Check check_set(const Question& q, std::string_view answer) {
  auto got = list_items(answer), want = list_items(q.gold);
  std::sort(got.begin(), got.end());
  std::sort(want.begin(), want.end());
  return got == want ? right() : wrong("not the expected items");
}

Check check_integer(const Question& q, std::string_view answer) {
  const auto got = integer(trimmed(answer)), want = integer(trimmed(q.gold));
  if (!want) throw Error("puzzle: the ground truth is not an integer");
  if (!got) return unreadable("want an integer");
  return *got == *want ? right() : wrong("not the expected number");
}

GridAnswer read_filled_grid(std::string_view answer, const Numbers& given, int low, int high) {
  const auto grid = read_number_grid(answer, given.size(), given[0].size());
  if (!grid) return {unreadable(fmt::format("want {} rows of {} numbers", given.size(), given[0].size())), {}};
  for (size_t r = 0; r < given.size(); ++r) {
    for (size_t c = 0; c < given[r].size(); ++c) {
      const int v = (*grid)[r][c];
      if (v < low || v > high) return {wrong(fmt::format("{} is not in {}..{}", v, low, high)), {}};
      if (given[r][c] != 0 && given[r][c] != v)
        return {wrong(fmt::format("the given number in row {}, column {} is changed", r + 1, c + 1)), {}};
    }
  }
  return {right(), *grid};
}

// "row 2 holds 4 twice", or "".
static std::string latin_defect(const Numbers& grid) {
  for (size_t i = 0; i < grid.size(); ++i) {
    for (size_t a = 0; a < grid.size(); ++a) {
      for (size_t b = a + 1; b < grid.size(); ++b) {
        if (grid[i][a] == grid[i][b]) return fmt::format("row {} holds {} twice", i + 1, grid[i][a]);
        if (grid[a][i] == grid[b][i]) return fmt::format("column {} holds {} twice", i + 1, grid[a][i]);
      }
    }
  }
  return "";
}

GridAnswer read_latin_square(std::string_view answer, const Numbers& given) {
  if (given[0].size() != given.size()) throw Error("puzzle: grid: want a square");
  GridAnswer a = read_filled_grid(answer, given, 1, static_cast<int>(given.size()));
  if (a.check.finding != Finding::kRight) return a;
  if (std::string defect = latin_defect(a.grid); !defect.empty()) a.check = wrong(std::move(defect));
  return a;
}

}  // namespace fulmen::task
