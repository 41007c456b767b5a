// futoshiki: a Latin square of 1..n with greater-than signs between neighbours. One solution.
#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

using Sign = std::vector<int>;  // greater row, greater column, smaller row, smaller column, from 0

Narrow narrow_of(int n, const std::vector<Sign>& signs, const std::vector<std::vector<int>>& groups) {
  return [n, &signs, &groups](Domains& d) {
    for (const Sign& s : signs) {
      Domain& greater = d[static_cast<size_t>(s[0] * n + s[1])];
      Domain& smaller = d[static_cast<size_t>(s[2] * n + s[3])];
      if (greater == 0 || smaller == 0) return false;
      greater &= ~((only(value_of(smaller)) << 1) - 1);  // above the smallest
      if (greater == 0) return false;
      const int most = 63 - __builtin_clzll(greater);
      smaller &= only(most) - 1;
      if (smaller == 0) return false;
    }
    for (const auto& g : groups)
      if (!all_different(d, g)) return false;
    return true;
  };
}

std::vector<Sign> random_signs(Random& random, const Numbers& solution, int wanted) {
  const int n = static_cast<int>(solution.size());
  std::vector<Sign> all;
  for (int r = 0; r < n; ++r) {
    for (int c = 0; c < n; ++c) {
      for (const auto& [r2, c2] : {std::pair{r, c + 1}, std::pair{r + 1, c}}) {
        if (r2 == n || c2 == n) continue;
        const bool first = solution[static_cast<size_t>(r)][static_cast<size_t>(c)] >
                           solution[static_cast<size_t>(r2)][static_cast<size_t>(c2)];
        all.push_back(first ? Sign{r, c, r2, c2} : Sign{r2, c2, r, c});
      }
    }
  }
  return random.sample(all, static_cast<size_t>(wanted));
}

Problem generate(Random& random, int difficulty) {
  const int n = difficulty <= 3 ? 4 : difficulty <= 6 ? 5 : difficulty <= 8 ? 6 : 7;
  static constexpr int kBlanks[] = {6, 9, 12, 14, 17, 20, 24, 27, 31, 36};
  const Numbers solution = random_latin_square(random, n);
  const auto signs = random_signs(random, solution, n + difficulty);
  const auto groups = rows_and_columns(n);
  const Narrow narrow = narrow_of(n, signs, groups);
  Numbers given = solution;
  const int removed = clear_cells(given, narrow, kBlanks[difficulty - 1], 1000, random);
  Problem p;
  p.size = removed;
  p.puzzle = {{"grid", given}, {"signs", signs}};
  p.answer = grid_text(solution);
  p.prompt = fmt::format(
      "Futoshiki: fill in the dots so that every row and every column holds 1 to {} once, and every listed relation "
      "between two cells, named (row,column) from (1,1), holds.\n\n{}\n\n",
      n, grid_text(given));
  for (const Sign& s : signs) p.prompt += fmt::format("({},{}) > ({},{})\n", s[0] + 1, s[1] + 1, s[2] + 1, s[3] + 1);
  p.prompt += answer_request(fmt::format("all {} rows, the numbers of a row separated by blanks", n));
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Numbers given = number_grid(q.puzzle, "grid", 0, kMaxSide);
  const int n = static_cast<int>(given.size());
  const GridAnswer a = read_latin_square(answer, given);
  if (a.check.finding != Finding::kRight) return a.check;
  const auto at = [&](int r, int c) { return a.grid[static_cast<size_t>(r)][static_cast<size_t>(c)]; };
  for (const Json& entry : list_field(q.puzzle, "signs")) {
    const Sign s = int_tuple(entry, "signs", 4, 0, n - 1);
    if (at(s[0], s[1]) <= at(s[2], s[3]))
      return wrong(fmt::format("({},{}) > ({},{}) does not hold", s[0] + 1, s[1] + 1, s[2] + 1, s[3] + 1));
  }
  return right();
}

}  // namespace

const Task kFutoshiki{.id = 2,
                      .name = "futoshiki",
                      .sentence = "a Latin square with greater-than signs, one solution",
                      .size_means = "blank cells",
                      .generate = generate,
                      .verify = verify};

}  // namespace fulmen::task
