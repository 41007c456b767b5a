// survo: a matrix with the sums of its rows and columns; put given numbers into the blanks, each once.
#include <algorithm>

#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

Problem generate(Random& random, int difficulty) {
  const int n = difficulty <= 4 ? 3 : difficulty <= 7 ? 4 : 5;
  static constexpr int kBlanks[] = {3, 4, 5, 6, 7, 8, 10, 11, 13, 15};
  const int wanted = kBlanks[difficulty - 1], highest = 9 + 2 * difficulty;
  const size_t side = static_cast<size_t>(n);
  Numbers full(side + 1, std::vector<int>(side + 1));
  for (size_t r = 0; r < side; ++r) {
    for (size_t c = 0; c < side; ++c) {
      const int v = random.between(1, highest);
      full[r][c] = v, full[r][side] += v, full[side][c] += v, full[side][side] += v;
    }
  }
  Numbers given = full;
  std::vector<int> cells, numbers;
  for (int i = 0; i < n * n; ++i) cells.push_back(i);
  for (const int cell : random.sample(cells, static_cast<size_t>(wanted))) {
    int& v = given[static_cast<size_t>(cell / n)][static_cast<size_t>(cell % n)];
    numbers.push_back(v);
    v = 0;
  }
  std::sort(numbers.begin(), numbers.end());
  Problem p;
  p.size = wanted;
  p.puzzle = {{"grid", given}, {"numbers", numbers}};
  p.answer = grid_text(full);
  p.prompt =
      fmt::format(
          "Survo: in the table below the last number of each row and of each column is the sum of the others in it. "
          "Replace the dots by these numbers, each used once: {}.\n\n{}\n",
          fmt::join(numbers, " "), grid_text(given)) +
      answer_request("the whole table with its sums, one row a line, numbers separated by blanks");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Numbers given = number_grid(q.puzzle, "grid", 0, 1'000'000);
  auto numbers = int_list(q.puzzle, "numbers", 1, 1'000'000);
  const GridAnswer a = read_filled_grid(answer, given, 0, 100'000'000);
  if (a.check.finding != Finding::kRight) return a.check;
  std::vector<int> used;
  const size_t last_row = given.size() - 1, last_column = given[0].size() - 1;
  for (size_t r = 0; r <= last_row; ++r) {
    int64_t sum = 0;
    for (size_t c = 0; c <= last_column; ++c) {
      if (given[r][c] == 0) used.push_back(a.grid[r][c]);
      if (c < last_column) sum += a.grid[r][c];
    }
    if (sum != a.grid[r][last_column]) return wrong(fmt::format("row {} has another sum", r + 1));
  }
  for (size_t c = 0; c <= last_column; ++c) {
    int64_t sum = 0;
    for (size_t r = 0; r < last_row; ++r) sum += a.grid[r][c];
    if (sum != a.grid[last_row][c]) return wrong(fmt::format("column {} has another sum", c + 1));
  }
  std::sort(used.begin(), used.end());
  std::sort(numbers.begin(), numbers.end());
  return used == numbers ? right() : wrong("not the given numbers, each once");
}

}  // namespace

const Task kSurvo{.id = 10,
                  .name = "survo",
                  .sentence = "numbers into a table with given sums",
                  .size_means = "blank cells",
                  .generate = generate,
                  .verify = verify};

}  // namespace fulmen::task
