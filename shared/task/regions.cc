#include "shared/task/regions.h"

#include <algorithm>

namespace fulmen::task {
namespace {

bool is_connected_without(const std::vector<int>& region, int cell, int n) {
  const int own = region[static_cast<size_t>(cell)];
  std::vector<bool> seen(region.size());
  std::vector<int> todo;
  auto total = std::count(region.begin(), region.end(), own) - 1;
  for (const int first : edge_neighbours(cell, n, n)) {
    if (region[static_cast<size_t>(first)] != own) continue;
    todo.push_back(first);
    seen[static_cast<size_t>(first)] = true;
    break;
  }
  for (; !todo.empty(); --total) {
    const int at = todo.back();
    todo.pop_back();
    for (const int next : edge_neighbours(at, n, n)) {
      if (next == cell || region[static_cast<size_t>(next)] != own || seen[static_cast<size_t>(next)]) continue;
      seen[static_cast<size_t>(next)] = true;
      todo.push_back(next);
    }
  }
  return total == 0;
}

}  // namespace

std::vector<int> edge_neighbours(int cell, int rows, int columns) {
  const int r = cell / columns, c = cell % columns;
  std::vector<int> out;
  if (c + 1 < columns) out.push_back(cell + 1);
  if (r + 1 < rows) out.push_back(cell + columns);
  if (c > 0) out.push_back(cell - 1);
  if (r > 0) out.push_back(cell - columns);
  return out;
}

void grow_regions(Random& random, std::vector<int>& region, int n) {
  for (auto left = std::count(region.begin(), region.end(), -1); left > 0;) {
    const int cell = random.below(region.size());
    if (region[static_cast<size_t>(cell)] != -1) continue;
    const int from = region[static_cast<size_t>(random.pick(edge_neighbours(cell, n, n)))];
    if (from == -1) continue;
    region[static_cast<size_t>(cell)] = from;
    --left;
  }
}

bool exclude_solution(Random& random, std::vector<int>& region, int n, const std::vector<bool>& gold,
                      const std::vector<bool>& other) {
  std::vector<std::pair<int, int>> moves;
  for (int cell = 0; cell < n * n; ++cell) {
    if (!other[static_cast<size_t>(cell)] || gold[static_cast<size_t>(cell)]) continue;
    if (!is_connected_without(region, cell, n)) continue;
    for (const int next : edge_neighbours(cell, n, n))
      if (region[static_cast<size_t>(next)] != region[static_cast<size_t>(cell)])
        moves.emplace_back(cell, region[static_cast<size_t>(next)]);
  }
  if (moves.empty()) return false;
  const auto [cell, to] = random.pick(moves);
  region[static_cast<size_t>(cell)] = to;
  return true;
}

}  // namespace fulmen::task
