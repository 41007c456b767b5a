// norinori: cover cells with dominoes (1 x 2). Every region has exactly two covered cells; dominoes do not share an
// edge but may touch at a corner, and may lie across a border of regions. A cell X belongs to no region and must be
// covered. The answer marks the covered cells: as dominoes never touch, the marks say where they lie.
#include <algorithm>
#include <map>

#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"
#include "shared/task/regions.h"

namespace fulmen::task {
namespace {

// owner[i]: 2k and 2k+1 are the two cells of domino k, -1 free. Dominoes are laid at random until none fits or enough
// lie.
std::vector<int> random_dominoes(Random& random, int n, int wanted) {
  std::vector<int> owner(static_cast<size_t>(n * n), -1);
  const auto free_around = [&](int cell) {
    const auto around = edge_neighbours(cell, n, n);
    return owner[static_cast<size_t>(cell)] == -1 &&
           std::all_of(around.begin(), around.end(), [&](int i) { return owner[static_cast<size_t>(i)] == -1; });
  };
  int laid = 0;
  for (int tries = 0; tries < 40 * n * n && laid < wanted; ++tries) {
    const int a = random.below(owner.size());
    const int b = random.pick(edge_neighbours(a, n, n));
    if (!free_around(a) || !free_around(b)) continue;
    owner[static_cast<size_t>(a)] = 2 * laid;
    owner[static_cast<size_t>(b)] = 2 * laid + 1;
    ++laid;
  }
  return owner;
}

// Every cell joins the area of a covered cell; then areas are joined in pairs, each with a neighbour, to regions.
std::vector<int> random_regions(Random& random, const std::vector<int>& owner, int n) {
  std::vector<int> area = owner;
  grow_regions(random, area, n);
  const int areas = *std::max_element(owner.begin(), owner.end()) + 1;
  std::vector<int> partner(static_cast<size_t>(areas), -1);
  std::vector<std::pair<int, int>> borders;
  for (int i = 0; i < n * n; ++i)
    for (const int j : edge_neighbours(i, n, n))
      if (area[static_cast<size_t>(i)] < area[static_cast<size_t>(j)])
        borders.emplace_back(area[static_cast<size_t>(i)], area[static_cast<size_t>(j)]);
  random.shuffle(borders);
  for (const auto& [a, b] :
       borders) {  // pairs of whole dominoes: a with b, and then their other halves with each other
    const int a2 = a ^ 1, b2 = b ^ 1;
    if (a2 == b || partner[static_cast<size_t>(a)] != -1 || partner[static_cast<size_t>(b)] != -1) continue;
    if (partner[static_cast<size_t>(a2)] != -1 || partner[static_cast<size_t>(b2)] != -1) continue;
    const auto joined = std::pair{std::min(a2, b2), std::max(a2, b2)};
    if (std::find(borders.begin(), borders.end(), joined) == borders.end()) continue;
    partner[static_cast<size_t>(a)] = b, partner[static_cast<size_t>(b)] = a;
    partner[static_cast<size_t>(a2)] = b2, partner[static_cast<size_t>(b2)] = a2;
  }
  for (int a = 0; a < areas; ++a)
    if (partner[static_cast<size_t>(a)] == -1) partner[static_cast<size_t>(a)] = a ^ 1;
  std::map<int, int> names;
  for (int& a : area) {
    const int first = std::min(a, partner[static_cast<size_t>(a)]);
    a = names.emplace(first, static_cast<int>(names.size())).first->second;
  }
  return area;
}

Found solve(const std::vector<int>& region, const std::vector<bool>& known, int n) {
  const int regions = *std::max_element(region.begin(), region.end()) + 1;
  const Narrow narrow = [&](Domains& d) {
    std::vector<int> sure(static_cast<size_t>(regions)), possible(static_cast<size_t>(regions));
    for (int i = 0; i < n * n; ++i) {
      const size_t at = static_cast<size_t>(i);
      sure[static_cast<size_t>(region[at])] += d[at] == only(1);
      possible[static_cast<size_t>(region[at])] += (d[at] & only(1)) != 0;
      if (d[at] == only(0)) continue;
      int covered = 0, open = 0;  // a covered cell has exactly one covered neighbour
      for (const int j : edge_neighbours(i, n, n)) {
        covered += d[static_cast<size_t>(j)] == only(1);
        open += d[static_cast<size_t>(j)] == range(0, 1);
      }
      if (d[at] != only(1)) {
        if (covered > 1 || covered + open == 0) d[at] = only(0);
        continue;
      }
      if (covered > 1 || covered + open == 0) return false;
      if (covered == 1 || open == 1) {
        for (const int j : edge_neighbours(i, n, n)) {
          Domain& x = d[static_cast<size_t>(j)];
          if (x == range(0, 1)) x = covered == 1 ? only(0) : only(1);
        }
      }
    }
    for (int i = 0; i < n * n; ++i) {
      const size_t at = static_cast<size_t>(i), own = static_cast<size_t>(region[at]);
      if (sure[own] > 2 || possible[own] < 2) return false;
      if (single(d[at])) continue;
      if (sure[own] == 2) d[at] = only(0);
      if (possible[own] == 2) d[at] = only(1);
    }
    return true;
  };
  Domains start(region.size(), range(0, 1));
  for (size_t i = 0; i < start.size(); ++i)
    if (known[i]) start[i] = only(1);
  return search(start, narrow, 2, 300);
}

// Tells of covered cells, as few as a greedy choice finds, until there is one solution: each time one that another
// solution does not cover.
std::vector<bool> known_cells(Random& random, const std::vector<int>& region, const std::vector<int>& owner, int n) {
  std::vector<bool> known(region.size());
  for (;;) {
    const Found f = solve(region, known, n);
    if (f.unique()) return known;
    std::vector<size_t> telling, covered;
    for (size_t i = 0; i < owner.size(); ++i) {
      if (owner[i] == -1 || known[i]) continue;
      covered.push_back(i);
      if (f.solutions == 2 && (f.first[i] == only(0) || f.last[i] == only(0))) telling.push_back(i);
    }
    known[random.pick(telling.empty() ? covered : telling)] = true;
  }
}

Problem generate(Random& random, int difficulty) {
  static constexpr int kSides[] = {4, 5, 5, 6, 6, 7, 7, 8, 8, 9};
  const int n = kSides[difficulty - 1];
  std::vector<int> owner, region;
  std::vector<bool> known;
  int hidden = 0;
  while (hidden < n) {  // a small board may give nearly everything away
    owner = random_dominoes(random, n, n * n / 4);
    region = random_regions(random, owner, n);
    known = known_cells(random, region, owner, n);
    hidden = static_cast<int>(std::count_if(owner.begin(), owner.end(), [](int o) { return o != -1; }) -
                              std::count(known.begin(), known.end(), true));
  }
  Words grid(static_cast<size_t>(n)), solution(static_cast<size_t>(n));
  for (int i = 0; i < n * n; ++i) {
    const size_t at = static_cast<size_t>(i), row = static_cast<size_t>(i / n);
    grid[row].push_back(std::string(1, static_cast<char>('A' + region[at])) + (known[at] ? "*" : ""));
    solution[row].push_back(owner[at] == -1 ? "." : "#");
  }
  Problem p;
  p.size = hidden;
  p.puzzle = {{"regions", grid}};
  p.answer = grid_text(solution);
  p.prompt =
      fmt::format(
          "Norinori: cover cells of the grid with dominoes of two cells. The letters name regions: every region has "
          "exactly two covered cells. A * marks a cell that is covered for certain. Dominoes may lie across borders of "
          "regions. Two dominoes never share an "
          "edge; they may touch at a corner.\n\n{}\n",
          grid_text(grid)) +
      answer_request("the grid with # for a covered cell and . for a free one, cells separated by blanks");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Words regions = word_grid(q.puzzle, "regions");
  const int h = static_cast<int>(regions.size()), w = static_cast<int>(regions[0].size());
  const auto grid = read_grid(answer, regions.size(), regions[0].size());
  if (!grid) return unreadable(fmt::format("want {} rows of {} cells", h, w));
  std::map<std::string, int> covered;
  const auto at = [&](int i) -> const std::string& {
    return (*grid)[static_cast<size_t>(i / w)][static_cast<size_t>(i % w)];
  };
  for (int i = 0; i < h * w; ++i) {
    if (at(i) != "#" && at(i) != ".") return unreadable("a cell is neither # nor .");
    std::string name = regions[static_cast<size_t>(i / w)][static_cast<size_t>(i % w)];
    const bool known = name == "X" || name.ends_with('*');
    if (known && at(i) != "#") return wrong("a cell that is known to be covered is not");
    if (name.ends_with('*')) name.pop_back();
    if (name != "X") covered[name] += at(i) == "#";
    if (at(i) != "#") continue;
    const auto around = edge_neighbours(i, h, w);
    const auto mates = std::count_if(around.begin(), around.end(), [&](int j) { return at(j) == "#"; });
    if (mates != 1) return wrong("the covered cells are not dominoes apart");
  }
  for (const auto& [name, cells] : covered)
    if (cells != 2) return wrong(fmt::format("region {} has {} covered cells", name, cells));
  return right();
}

}  // namespace

const Task kNorinori{.id = 8,
                     .name = "norinori",
                     .sentence = "dominoes apart from each other, two covered cells in every region",
                     .size_means = "covered cells to find",
                     .generate = generate,
                     .verify = verify};

}  // namespace fulmen::task
