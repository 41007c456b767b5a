// arrow_maze: fill the blank cells with arrows in eight directions. From a number, a string of arrows runs in a
// direction as long as the cells hold arrows that point in that very direction; the strings of all eight directions
// together have as many arrows as the number says. Every arrow belongs to the string of some number.
#include <algorithm>
#include <array>

#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

struct Direction {
  int down, right;
  const char* arrow;
};
constexpr std::array<Direction, 8> kDirections{
    {{-1, 0, "↑"}, {1, 0, "↓"}, {0, -1, "←"}, {0, 1, "→"}, {-1, -1, "↖"}, {-1, 1, "↗"}, {1, 1, "↘"}, {1, -1, "↙"}}};

bool is_arrow(const std::string& cell) {
  return std::any_of(kDirections.begin(), kDirections.end(), [&](const Direction& d) { return cell == d.arrow; });
}

// Arrows of the string from (r, c) in a direction; marks them.
int follow(const Words& grid, int r, int c, const Direction& d, Numbers& belongs) {
  const int h = static_cast<int>(grid.size()), w = static_cast<int>(grid[0].size());
  int length = 0;
  for (r += d.down, c += d.right; r >= 0 && c >= 0 && r < h && c < w; r += d.down, c += d.right, ++length) {
    if (grid[static_cast<size_t>(r)][static_cast<size_t>(c)] != d.arrow) break;
    belongs[static_cast<size_t>(r)][static_cast<size_t>(c)] = 1;
  }
  return length;
}

int strings_from(const Words& grid, int r, int c, Numbers& belongs) {
  int sum = 0;
  for (const Direction& d : kDirections) sum += follow(grid, r, c, d, belongs);
  return sum;
}

// "#" stands for a number yet unknown. Returns false when a cell is left that no string can reach.
bool lay(Random& random, Words& grid, int n) {
  const auto at = [&](int r, int c) -> std::string& { return grid[static_cast<size_t>(r)][static_cast<size_t>(c)]; };
  std::vector<int> order;
  for (int i = 0; i < n * n; ++i) order.push_back(i);
  random.shuffle(order);
  for (const int cell : order) {
    const int r = cell / n, c = cell % n;
    if (at(r, c) != ".") continue;
    bool has_string = false;
    std::vector<int> ways{0, 1, 2, 3, 4, 5, 6, 7};
    random.shuffle(ways);
    for (const int way : ways) {
      const Direction& d = kDirections[static_cast<size_t>(way)];
      if (has_string && !random.chance(40)) continue;
      int length = random.between(1, 4);
      for (int y = r + d.down, x = c + d.right; length > 0 && y >= 0 && x >= 0 && y < n && x < n && at(y, x) == ".";
           y += d.down, x += d.right, --length) {
        at(y, x) = d.arrow;
        has_string = true;
      }
    }
    if (has_string) {
      at(r, c) = "#";
      continue;
    }
    for (const int way : ways) {  // no free neighbour: an arrow away from a number beside it
      const Direction& d = kDirections[static_cast<size_t>(way)];
      const int y = r - d.down, x = c - d.right;
      if (y < 0 || x < 0 || y >= n || x >= n || at(y, x) != "#") continue;
      at(r, c) = d.arrow;
      break;
    }
    if (at(r, c) == ".") return false;
  }
  return true;
}

Problem generate(Random& random, int difficulty) {
  static constexpr int kSides[] = {3, 4, 4, 5, 5, 6, 6, 7, 7, 8};
  const int n = kSides[difficulty - 1];
  Words full;
  do full.assign(static_cast<size_t>(n), std::vector<std::string>(static_cast<size_t>(n), "."));
  while (!lay(random, full, n));
  Numbers belongs(static_cast<size_t>(n), std::vector<int>(static_cast<size_t>(n)));
  Words numbered = full;
  for (int r = 0; r < n; ++r)
    for (int c = 0; c < n; ++c)
      if (full[static_cast<size_t>(r)][static_cast<size_t>(c)] == "#")
        numbered[static_cast<size_t>(r)][static_cast<size_t>(c)] = std::to_string(strings_from(full, r, c, belongs));
  Problem p;
  Words given = numbered;
  for (auto& row : given)
    for (std::string& cell : row)
      if (is_arrow(cell) && random.chance(45 + 4 * difficulty)) cell = "X", ++p.size;
  p.puzzle = {{"grid", given}};
  p.answer = grid_text(numbered);
  p.prompt =
      "Arrow maze: replace every X by an arrow (↑ ↓ ← → ↖ ↗ ↘ ↙). From a number, a string of arrows runs in a "
      "direction as "
      "long as the cells hold arrows that point in that very direction. The strings from a number, over all eight "
      "directions, have as many arrows together as the number says. Every arrow belongs to the string of some "
      "number.\n\n" +
      grid_text(given) + "\n" + answer_request("the whole grid, one row a line, cells separated by blanks");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Words given = word_grid(q.puzzle, "grid");
  const auto grid = read_grid(answer, given.size(), given[0].size());
  if (!grid) return unreadable(fmt::format("want {} rows of {} cells", given.size(), given[0].size()));
  Numbers belongs(given.size(), std::vector<int>(given[0].size()));
  for (size_t r = 0; r < given.size(); ++r)
    for (size_t c = 0; c < given[r].size(); ++c) {
      const std::string& cell = (*grid)[r][c];
      if (given[r][c] != "X" && cell != given[r][c]) return wrong("a given cell is changed");
      if (given[r][c] == "X" && !is_arrow(cell)) return wrong("a cell is not filled with an arrow");
      if (is_arrow(cell)) continue;
      const auto number = integer(cell);
      if (!number) throw Error("puzzle: grid: want arrows, numbers and X");
      if (strings_from(*grid, static_cast<int>(r), static_cast<int>(c), belongs) != *number)
        return wrong(fmt::format("the number in row {}, column {} has another count of arrows", r + 1, c + 1));
    }
  if (!bool_field(q.puzzle, "every_arrow", true)) return right();
  for (size_t r = 0; r < given.size(); ++r)
    for (size_t c = 0; c < given[r].size(); ++c)
      if (is_arrow((*grid)[r][c]) && belongs[r][c] == 0) return wrong("an arrow belongs to no number");
  return right();
}

}  // namespace

const Task kArrowMaze{.id = 11,
                      .name = "arrow_maze",
                      .sentence = "arrows in strings that start at numbers and have their length",
                      .size_means = "cells to fill",
                      .generate = generate,
                      .verify = verify};

}  // namespace fulmen::task
