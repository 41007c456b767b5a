// skyscraper_puzzle: a Latin square of heights 1..n; the number at the end of a line is how many towers are seen from
// there, as a tower hides the lower ones behind it. One solution.
#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

int seen_along(const std::vector<int>& heights) {
  int highest = 0, seen = 0;
  for (const int h : heights) {
    if (h > highest) highest = h, ++seen;
  }
  return seen;
}

// Sights 0..n-1 top, n.. bottom, 2n.. left, 3n.. right: the cells as they are seen.
std::vector<std::vector<int>> lines_of(int n) {
  std::vector<std::vector<int>> lines(static_cast<size_t>(4 * n));
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      lines[static_cast<size_t>(i)].push_back(j * n + i);
      lines[static_cast<size_t>(n + i)].push_back((n - 1 - j) * n + i);
      lines[static_cast<size_t>(2 * n + i)].push_back(i * n + j);
      lines[static_cast<size_t>(3 * n + i)].push_back(i * n + n - 1 - j);
    }
  }
  return lines;
}

// Counts what is seen by cells that are certain; the tallest possible behind them bounds the rest.
bool sight_is_possible(const Domains& d, const std::vector<int>& line, int sight, int n) {
  int highest = 0, seen = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const Domain x = d[static_cast<size_t>(line[i])];
    if (!single(x)) {  // from here on: at least one more when the tallest is not met, at most one for each higher tower
      const int least = highest == n ? 0 : 1, most = std::min(n - highest, static_cast<int>(line.size() - i));
      return seen + least <= sight && sight <= seen + most;
    }
    if (value_of(x) > highest) highest = value_of(x), ++seen;
  }
  return seen == sight;
}

Problem generate(Random& random, int difficulty) {
  const int n = difficulty <= 4 ? 4 : difficulty <= 7 ? 5 : 6;
  static constexpr int kBlanks[] = {8, 11, 13, 16, 17, 19, 22, 25, 28, 31};
  const Numbers solution = random_latin_square(random, n);
  const auto groups = rows_and_columns(n);
  const auto lines = lines_of(n);
  std::vector<int> sights;
  for (const auto& line : lines) {
    std::vector<int> heights;
    for (const int c : line) heights.push_back(solution[static_cast<size_t>(c / n)][static_cast<size_t>(c % n)]);
    sights.push_back(seen_along(heights));
  }
  const Narrow narrow = [&](Domains& d) {
    for (size_t i = 0; i < lines.size(); ++i) {
      if (!sight_is_possible(d, lines[i], sights[i], n)) return false;
      const int most = n - sights[i];  // the nearest tower leaves room for sights - 1 higher ones
      d[static_cast<size_t>(lines[i][0])] &= range(1, most + 1);
    }
    for (const auto& g : groups)
      if (!all_different(d, g)) return false;
    return true;
  };
  Numbers given = solution;
  const int removed = clear_cells(given, narrow, kBlanks[difficulty - 1], 1500, random);
  const auto side = [&](int k) { return std::vector<int>(sights.begin() + k * n, sights.begin() + (k + 1) * n); };
  Problem p;
  p.size = removed;
  p.puzzle = {{"grid", given}, {"top", side(0)}, {"bottom", side(1)}, {"left", side(2)}, {"right", side(3)}};
  p.answer = grid_text(solution);
  Words picture;
  const auto edge = [&](int k) {
    std::vector<std::string> row{" "};
    for (const int v : side(k)) row.push_back(std::to_string(v));
    return row;
  };
  picture.push_back(edge(0));
  for (int r = 0; r < n; ++r) {
    std::vector<std::string> row{std::to_string(side(2)[static_cast<size_t>(r)])};
    for (const int v : given[static_cast<size_t>(r)]) row.push_back(v == 0 ? "." : std::to_string(v));
    row.push_back(std::to_string(side(3)[static_cast<size_t>(r)]));
    picture.push_back(row);
  }
  picture.push_back(edge(1));
  p.prompt = fmt::format(
                 "Skyscrapers: fill in the dots with heights so that every row and every column holds 1 to {} once. A "
                 "number outside the grid says how many towers are seen from there along its line: a tower hides every "
                 "lower one behind it.\n\n{}\n",
                 n, grid_text(picture)) +
             answer_request(fmt::format("the {} rows of heights, without the numbers outside", n));
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Numbers given = number_grid(q.puzzle, "grid", 0, kMaxSide);
  const int n = static_cast<int>(given.size());
  const GridAnswer a = read_latin_square(answer, given);
  if (a.check.finding != Finding::kRight) return a.check;
  std::vector<int> sights;
  for (const char* side : {"top", "bottom", "left", "right"}) {
    const auto list = int_list(q.puzzle, side, 1, n);
    if (static_cast<int>(list.size()) != n) throw Error(fmt::format("puzzle: {}: want {} sights", side, n));
    sights.insert(sights.end(), list.begin(), list.end());
  }
  const auto lines = lines_of(n);
  for (size_t i = 0; i < lines.size(); ++i) {
    std::vector<int> heights;
    for (const int c : lines[i]) heights.push_back(a.grid[static_cast<size_t>(c / n)][static_cast<size_t>(c % n)]);
    if (seen_along(heights) != sights[i])
      return wrong(fmt::format("a sight of {} is {}", sights[i], seen_along(heights)));
  }
  return right();
}

}  // namespace

const Task kSkyscraperPuzzle{.id = 3,
                             .name = "skyscraper_puzzle",
                             .sentence = "a Latin square seen from its edges, one solution",
                             .size_means = "blank cells",
                             .generate = generate,
                             .verify = verify};

}  // namespace fulmen::task
