#pragma once
// A search over variables with small domains: how generators find random solutions and prove that a puzzle has one
// solution only. Work is bounded by a node budget, so the outcome never depends on a clock.

#include <cstdint>
#include <functional>
#include <vector>

#include "shared/task/random.h"

namespace fulmen::task {

using Domain = uint64_t;  // bit v: the value v is possible
using Domains = std::vector<Domain>;

// Removes values that cannot be and returns false on a contradiction. It must be sound, and must refuse an assignment
// of single values that breaks a rule. Called again until nothing changes.
using Narrow = std::function<bool(Domains&)>;

struct Found {
  int solutions = 0;     // at most `limit`
  bool complete = true;  // false: the budget ran out first
  Domains first;         // a solution, when there is one
  Domains last;          // the last one found, for repairs
  bool unique() const { return complete && solutions == 1; }
};

// Smallest domain first; values in ascending order, or in random order when `order` is given.
Found search(const Domains& start, const Narrow& narrow, int limit, int budget, Random* order = nullptr);

inline int value_of(Domain d) { return d == 0 ? -1 : __builtin_ctzll(d); }
inline bool single(Domain d) { return d != 0 && (d & (d - 1)) == 0; }
inline int count(Domain d) { return __builtin_popcountll(d); }
inline Domain only(int v) { return Domain{1} << v; }
inline Domain range(int low, int high) { return ((Domain{1} << (high - low + 1)) - 1) << low; }

// Cells that take different values: singles leave the others, and a value with one place left goes there when there are
// as many cells as values.
bool all_different(Domains& d, const std::vector<int>& cells);

// n x n squares, cell index row * n + column, values 1..n.
std::vector<std::vector<int>> rows_and_columns(int n);
std::vector<std::vector<int>> random_latin_square(Random& random, int n);
std::vector<std::vector<int>> square_of(const Domains& d, int n);
// Empties cells (0) of the solution `square` in random order, at most `most`, while what is given has one solution;
// `budget` is of each proof. Returns how many.
int clear_cells(std::vector<std::vector<int>>& square, const Narrow& narrow, int most, int budget, Random& random);

}  // namespace fulmen::task
