// star_placement_puzzle: an n x n grid is cut into regions. Every row, column and region holds exactly k stars (k = 1
// here), and no two stars touch, not even diagonally. One solution.
#include <algorithm>
#include <map>
#include <set>

#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"
#include "shared/task/regions.h"

namespace fulmen::task {
namespace {

using Place = std::pair<int, int>;

// Columns of the stars by row: a permutation whose neighbours differ by at least two.
std::vector<int> random_stars(Random& random, int n) {
  std::vector<int> columns;
  for (int i = 0; i < n; ++i) columns.push_back(i);
  for (;;) {
    random.shuffle(columns);
    bool good = true;
    for (size_t i = 1; i < columns.size(); ++i) good = good && std::abs(columns[i] - columns[i - 1]) > 1;
    if (good) return columns;
  }
}

// Regions grown from the stars.
std::vector<int> random_regions(Random& random, const std::vector<int>& stars) {
  const int n = static_cast<int>(stars.size());
  std::vector<int> region(static_cast<size_t>(n * n), -1);
  for (int r = 0; r < n; ++r) region[static_cast<size_t>(r * n + stars[static_cast<size_t>(r)])] = r;
  grow_regions(random, region, n);
  return region;
}

Found solve(const std::vector<int>& region, int n) {
  // Variable r: the column of row r's star.
  const Narrow narrow = [&](Domains& d) {
    std::vector<int> rows;
    for (int r = 0; r < n; ++r) rows.push_back(r);
    std::vector<Domain> can(static_cast<size_t>(n));  // rows that can serve a region
    std::vector<bool> served(static_cast<size_t>(n));
    for (int r = 0; r < n; ++r) {
      if (!single(d[static_cast<size_t>(r)])) continue;
      const int c = value_of(d[static_cast<size_t>(r)]);
      const int own = region[static_cast<size_t>(r * n + c)];
      if (served[static_cast<size_t>(own)]) return false;
      served[static_cast<size_t>(own)] = true;
      for (const int other : {r - 1, r + 1})
        if (other >= 0 && other < n) d[static_cast<size_t>(other)] &= ~(range(0, 2) << c >> 1);
      for (int other = 0; other < n; ++other) {
        if (other == r) continue;
        for (int k = 0; k < n; ++k)
          if (region[static_cast<size_t>(other * n + k)] == own) d[static_cast<size_t>(other)] &= ~only(k);
      }
    }
    for (int r = 0; r < n; ++r) {
      for (int c = 0; c < n; ++c)
        if (d[static_cast<size_t>(r)] & only(c))
          can[static_cast<size_t>(region[static_cast<size_t>(r * n + c)])] |= only(r);
    }
    if (std::count(can.begin(), can.end(), Domain{0}) != 0) return false;
    return all_different(d, rows);
  };
  return search(Domains(static_cast<size_t>(n), range(0, n - 1)), narrow, 2, 1500);
}

std::vector<bool> marks_of(const Domains& columns, int n) {
  std::vector<bool> marks(static_cast<size_t>(n * n));
  for (int r = 0; r < n; ++r) marks[static_cast<size_t>(r * n + value_of(columns[static_cast<size_t>(r)]))] = true;
  return marks;
}

bool make_unique(Random& random, std::vector<int>& region, const std::vector<int>& stars) {
  const int n = static_cast<int>(stars.size());
  Domains gold;
  for (const int c : stars) gold.push_back(only(c));
  for (int round = 0; round < 60; ++round) {
    const Found f = solve(region, n);
    if (f.unique()) return true;
    if (!f.complete) return false;
    const Domains& other = f.first == gold ? f.last : f.first;
    if (!exclude_solution(random, region, n, marks_of(gold, n), marks_of(other, n))) return false;
  }
  return false;
}

Problem generate(Random& random, int difficulty) {
  static constexpr int kSides[] = {5, 5, 6, 6, 7, 7, 8, 8, 9, 10};
  const int n = kSides[difficulty - 1];
  std::vector<int> stars, region;
  for (int attempt = 0; attempt < 10; ++attempt) {
    stars = random_stars(random, n);
    region = random_regions(random, stars);
    if (make_unique(random, region, stars)) break;
  }
  Words grid(static_cast<size_t>(n));
  for (int i = 0; i < n * n; ++i)
    grid[static_cast<size_t>(i / n)].push_back(std::string(1, static_cast<char>('A' + region[static_cast<size_t>(i)])));
  Problem p;
  p.size = n;
  p.puzzle = {{"regions", grid}, {"stars", 1}};
  std::vector<std::string> lines;
  for (int r = 0; r < n; ++r) lines.push_back(fmt::format("({},{})", r + 1, stars[static_cast<size_t>(r)] + 1));
  p.answer = join(lines, " ");
  p.prompt =
      fmt::format(
          "Star placement: put stars on the {0} x {0} grid below, whose letters name its regions. Every row, every "
          "column and every region holds exactly one star, and no two stars touch, not even diagonally.\n\n{1}\n",
          n, grid_text(grid)) +
      answer_request("the place of each star as (row,column) from (1,1), in any order, separated by blanks");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Words regions = word_grid(q.puzzle, "regions");
  const int n = static_cast<int>(regions.size()), k = int_field(q.puzzle, "stars", 1, 8);
  if (static_cast<int>(regions[0].size()) != n) throw Error("puzzle: regions: want a square");
  const auto numbers = integers(answer);
  if (!numbers || numbers->size() % 2 != 0) return unreadable("want pairs (row,column)");
  std::set<Place> stars;
  std::map<std::string, int> of_region;
  std::vector<int> of_row(static_cast<size_t>(n)), of_column(static_cast<size_t>(n));
  for (const auto& row : regions)
    for (const auto& name : row) of_region[name] = 0;
  for (size_t i = 0; i < numbers->size(); i += 2) {
    const int r = (*numbers)[i], c = (*numbers)[i + 1];
    if (r < 1 || c < 1 || r > n || c > n) return wrong(fmt::format("({},{}) is not on the grid", r, c));
    if (!stars.insert({r, c}).second) return wrong("a star comes twice");
    ++of_row[static_cast<size_t>(r - 1)], ++of_column[static_cast<size_t>(c - 1)];
    ++of_region[regions[static_cast<size_t>(r - 1)][static_cast<size_t>(c - 1)]];
  }
  for (int i = 0; i < n; ++i)
    if (of_row[static_cast<size_t>(i)] != k || of_column[static_cast<size_t>(i)] != k)
      return wrong(fmt::format("row or column {} does not hold {}", i + 1, k));
  for (const auto& [name, stars_in] : of_region)
    if (stars_in != k) return wrong(fmt::format("region {} holds {}", name, stars_in));
  for (const auto& [r, c] : stars)
    for (int dr = -1; dr <= 1; ++dr)
      for (int dc = -1; dc <= 1; ++dc)
        if ((dr != 0 || dc != 0) && stars.count({r + dr, c + dc})) return wrong("two stars touch");
  return right();
}

}  // namespace

const Task kStarPlacementPuzzle{.id = 7,
                                .name = "star_placement_puzzle",
                                .sentence = "a star in every row, column and region, none touching",
                                .size_means = "stars",
                                .generate = generate,
                                .verify = verify};

}  // namespace fulmen::task
