// numbrix: fill an n x n grid with 1..n*n, each once, so that consecutive numbers share an edge. One solution.
#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "shared/task/kinds/kinds.h"
#include "shared/task/regions.h"

namespace fulmen::task {
namespace {

// A path over all cells: the snake, stirred by reversing a part at one end (backbite moves).
std::vector<int> random_path(Random& random, int n) {
  std::vector<int> path;
  for (int r = 0; r < n; ++r)
    for (int c = 0; c < n; ++c) path.push_back(r * n + (r % 2 == 0 ? c : n - 1 - c));
  for (int k = 0; k < 10 * n * n; ++k) {
    if (random.chance(50)) std::reverse(path.begin(), path.end());
    const int next = random.pick(edge_neighbours(path.back(), n, n));
    const auto at = std::find(path.begin(), path.end(), next);
    std::reverse(at + 1, path.end());
  }
  return path;
}

// Counts paths that agree with the given numbers, up to two.
class Walker {
 public:
  Walker(const std::vector<int>& number, int n) : number_(number), n_(n), place_(number.size() + 1, -1) {
    for (size_t i = 0; i < number.size(); ++i)
      if (number[i] != 0) place_[static_cast<size_t>(number[i])] = static_cast<int>(i);
    upcoming_.assign(number.size() + 2, 0);
    for (int v = static_cast<int>(number.size()); v >= 1; --v)
      upcoming_[static_cast<size_t>(v)] =
          place_[static_cast<size_t>(v)] != -1 ? v : upcoming_[static_cast<size_t>(v) + 1];
  }
  bool unique(int budget) {
    budget_ = budget;
    if (place_[1] != -1) {
      go(place_[1], 1);
    } else {
      for (size_t i = 0; i < number_.size(); ++i)
        if (number_[i] == 0) go(static_cast<int>(i), 1);
    }
    return budget_ > 0 && found_ == 1;
  }

 private:
  void go(int cell, int value) {
    if (found_ > 1 || --budget_ <= 0) return;
    const int total = static_cast<int>(number_.size());
    if (value == total) {
      ++found_;
      return;
    }
    const bool given = number_[static_cast<size_t>(cell)] != 0;
    if (!given) number_[static_cast<size_t>(cell)] = value;
    const int hint = upcoming_[static_cast<size_t>(value) + 1];
    for (const int next : edge_neighbours(cell, n_, n_)) {
      const int there = number_[static_cast<size_t>(next)];
      if (there != 0 ? there != value + 1 : place_[static_cast<size_t>(value) + 1] != -1) continue;
      if (hint != 0) {  // the next given number must still be within reach
        const int target = place_[static_cast<size_t>(hint)];
        if (std::abs(target / n_ - next / n_) + std::abs(target % n_ - next % n_) > hint - value - 1) continue;
      }
      go(next, value + 1);
    }
    if (!given) number_[static_cast<size_t>(cell)] = 0;
  }

  std::vector<int> number_;
  int n_;
  std::vector<int> place_, upcoming_;  // upcoming_[v]: the smallest given number >= v
  int budget_ = 0, found_ = 0;
};

Problem generate(Random& random, int difficulty) {
  const int n = 3 + difficulty / 2;  // 3..8
  static constexpr int kShare[] = {40, 45, 48, 50, 53, 55, 58, 60, 62, 64};
  const std::vector<int> path = random_path(random, n);
  std::vector<int> number(path.size()), order(path.size());
  for (size_t i = 0; i < path.size(); ++i) number[static_cast<size_t>(path[i])] = static_cast<int>(i) + 1;
  const std::vector<int> solution = number;
  std::iota(order.begin(), order.end(), 0);
  random.shuffle(order);
  Problem p;
  for (const int cell : order) {
    if (p.size == n * n * kShare[difficulty - 1] / 100) break;
    int& v = number[static_cast<size_t>(cell)];
    const int kept = v;
    v = 0;
    if (Walker(number, n).unique(3000))
      ++p.size;
    else
      v = kept;
  }
  Numbers given(static_cast<size_t>(n)), full(static_cast<size_t>(n));
  for (size_t i = 0; i < number.size(); ++i) {
    given[i / static_cast<size_t>(n)].push_back(number[i]);
    full[i / static_cast<size_t>(n)].push_back(solution[i]);
  }
  p.puzzle = {{"grid", given}};
  p.answer = grid_text(full);
  p.prompt =
      fmt::format(
          "Numbrix: replace the dots so that the grid holds every number from 1 to {} once and consecutive numbers "
          "stand in cells that share an edge.\n\n{}\n",
          n * n, grid_text(given)) +
      answer_request("the whole grid, one row a line, numbers separated by blanks");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Numbers given = number_grid(q.puzzle, "grid", 0, kMaxSide * kMaxSide);
  const int h = static_cast<int>(given.size()), w = static_cast<int>(given[0].size());
  const GridAnswer a = read_filled_grid(answer, given, 1, h * w);
  if (a.check.finding != Finding::kRight) return a.check;
  std::vector<int> place(static_cast<size_t>(h * w) + 1, -1);
  for (int i = 0; i < h * w; ++i) {
    int& at = place[static_cast<size_t>(a.grid[static_cast<size_t>(i / w)][static_cast<size_t>(i % w)])];
    if (at != -1) return wrong("a number comes twice");
    at = i;
  }
  for (int v = 1; v < h * w; ++v) {
    const int x = place[static_cast<size_t>(v)], y = place[static_cast<size_t>(v) + 1];
    if (std::abs(x / w - y / w) + std::abs(x % w - y % w) != 1)
      return wrong(fmt::format("{} and {} are not neighbours", v, v + 1));
  }
  return right();
}

}  // namespace

const Task kNumbrix{.id = 13,
                    .name = "numbrix",
                    .sentence = "a path of consecutive numbers through every cell",
                    .size_means = "blank cells",
                    .generate = generate,
                    .verify = verify};

}  // namespace fulmen::task
