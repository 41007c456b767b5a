// sudoku: fill an n x n grid so that every row, column and box holds 1..n once. n is 4, 6 (boxes of 2 x 3) or 9.
// The solution is unique; a record of another source may have several, so the rules are checked.
#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

int box_rows(int n) { return n == 9 ? 3 : 2; }
int box_columns(int n) { return n / box_rows(n); }

std::vector<std::vector<int>> groups_of(int n) {
  auto groups = rows_and_columns(n);
  const int h = box_rows(n), w = box_columns(n);
  for (int b = 0; b < n; ++b) {
    const int top = b / (n / w) * h, left = b % (n / w) * w;
    std::vector<int> box;
    for (int i = 0; i < n; ++i) box.push_back((top + i / w) * n + left + i % w);
    groups.push_back(box);
  }
  return groups;
}

Narrow narrow_of(const std::vector<std::vector<int>>& groups) {
  return [&groups](Domains& d) {
    for (const auto& g : groups)
      if (!all_different(d, g)) return false;
    return true;
  };
}

Problem generate(Random& random, int difficulty) {
  const int n = difficulty <= 2 ? 4 : difficulty <= 4 ? 6 : 9;
  static constexpr int kBlanks[] = {5, 9, 12, 18, 22, 28, 34, 40, 46, 52};
  const auto groups = groups_of(n);
  const Narrow narrow = narrow_of(groups);
  Found full;
  do full = search(Domains(static_cast<size_t>(n * n), range(1, n)), narrow, 1, 400, &random);
  while (full.solutions == 0);
  const Numbers solution = square_of(full.first, n);

  Numbers given = solution;
  const int removed = clear_cells(given, narrow, kBlanks[difficulty - 1], 2000, random);
  Problem p;
  p.size = removed;
  p.puzzle = {{"grid", given}};
  p.answer = grid_text(solution);
  p.prompt = fmt::format(
                 "Sudoku: fill in the dots so that every row, every column and every box of {} x {} holds 1 to {} "
                 "once.\n\n{}\n",
                 box_rows(n), box_columns(n), n, grid_text(given)) +
             answer_request(fmt::format("all {} rows, the numbers of a row separated by blanks", n));
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Numbers given = number_grid(q.puzzle, "grid", 0, 9);
  const int n = static_cast<int>(given.size());
  if ((n != 4 && n != 6 && n != 9) || given[0].size() != given.size())
    throw Error("puzzle: grid: want 4 x 4, 6 x 6 or 9 x 9");
  const GridAnswer a = read_filled_grid(answer, given, 1, n);
  if (a.check.finding != Finding::kRight) return a.check;
  for (const auto& group : groups_of(n)) {
    Domain seen = 0;
    for (const int c : group) seen |= only(a.grid[static_cast<size_t>(c / n)][static_cast<size_t>(c % n)]);
    if (count(seen) != n) return wrong("a row, column or box holds a number twice");
  }
  return right();
}

}  // namespace

const Task kSudoku{.id = 1,
                   .name = "sudoku",
                   .sentence = "4 x 4 to 9 x 9, one solution",
                   .size_means = "blank cells",
                   .generate = generate,
                   .verify = verify};

}  // namespace fulmen::task
