#include "shared/task/domains.h"

#include <algorithm>
#include <numeric>

namespace fulmen::task {
namespace {

struct Walk {
  const Narrow& narrow;
  int limit, budget;
  Random* order;
  Found found;

  void go(Domains d) {
    if (found.solutions >= limit) return;
    if (--budget < 0) {
      found.complete = false;
      return;
    }
    for (Domains before; before != d;) {
      before = d;
      if (!narrow(d)) return;
      if (std::count(d.begin(), d.end(), Domain{0}) != 0) return;
    }
    size_t best = d.size();
    for (size_t i = 0; i < d.size(); ++i)
      if (!single(d[i]) && (best == d.size() || count(d[i]) < count(d[best]))) best = i;
    if (best == d.size()) {
      if (found.solutions++ == 0) found.first = d;
      found.last = std::move(d);
      return;
    }
    std::vector<int> values;
    for (Domain rest = d[best]; rest != 0; rest &= rest - 1) values.push_back(value_of(rest));
    if (order != nullptr) order->shuffle(values);
    for (const int v : values) {
      Domains next = d;
      next[best] = only(v);
      go(std::move(next));
      if (!found.complete) return;
    }
  }
};

}  // namespace

Found search(const Domains& start, const Narrow& narrow, int limit, int budget, Random* order) {
  Walk walk{narrow, limit, budget, order, {}};
  walk.go(start);
  return std::move(walk.found);
}

bool all_different(Domains& d, const std::vector<int>& cells) {
  Domain taken = 0, everything = 0, once = 0, twice = 0;
  for (const int c : cells) {
    const Domain x = d[static_cast<size_t>(c)];
    everything |= x;
    if (single(x)) {
      if (taken & x) return false;
      taken |= x;
    }
  }
  if (count(everything) < static_cast<int>(cells.size())) return false;
  for (const int c : cells) {
    Domain& x = d[static_cast<size_t>(c)];
    if (!single(x)) x &= ~taken;
    if (x == 0) return false;
    twice |= once & x;
    once |= x;
  }
  if (count(everything) != static_cast<int>(cells.size())) return true;
  const Domain alone = once & ~twice;  // every value has a place, so one with a single place goes there
  for (const int c : cells) {
    Domain& x = d[static_cast<size_t>(c)];
    if ((x & alone) == 0) continue;
    if (!single(x & alone)) return false;
    x &= alone;
  }
  return true;
}

std::vector<std::vector<int>> rows_and_columns(int n) {
  std::vector<std::vector<int>> groups;
  for (int i = 0; i < n; ++i) {
    std::vector<int> row, column;
    for (int j = 0; j < n; ++j) row.push_back(i * n + j), column.push_back(j * n + i);
    groups.push_back(row);
    groups.push_back(column);
  }
  return groups;
}

std::vector<std::vector<int>> square_of(const Domains& d, int n) {
  std::vector<std::vector<int>> square(static_cast<size_t>(n));
  for (size_t i = 0; i < d.size(); ++i) square[i / static_cast<size_t>(n)].push_back(value_of(d[i]));
  return square;
}

std::vector<std::vector<int>> random_latin_square(Random& random, int n) {
  const auto groups = rows_and_columns(n);
  const Narrow narrow = [&](Domains& d) {
    return std::all_of(groups.begin(), groups.end(), [&](const auto& g) { return all_different(d, g); });
  };
  for (;;) {  // the order of values is random: a search that gets lost starts again elsewhere
    const Found f = search(Domains(static_cast<size_t>(n * n), range(1, n)), narrow, 1, 500, &random);
    if (f.solutions == 1) return square_of(f.first, n);
  }
}

int clear_cells(std::vector<std::vector<int>>& square, const Narrow& narrow, int most, int budget, Random& random) {
  const size_t n = square.size();
  Domains open;
  for (const auto& row : square)
    for (const int v : row) open.push_back(only(v));
  std::vector<size_t> order(open.size());
  std::iota(order.begin(), order.end(), 0);
  random.shuffle(order);
  int cleared = 0;
  for (const size_t at : order) {
    if (cleared == most) break;
    const Domain kept = open[at];
    open[at] = range(1, static_cast<int>(n));
    if (search(open, narrow, 2, budget).unique()) {
      square[at / n][at % n] = 0;
      ++cleared;
    } else {
      open[at] = kept;
    }
  }
  return cleared;
}

}  // namespace fulmen::task
