// number_wall: build walls (A) so that islands remain. Every island is connected by edges, holds exactly one of the
// given numbers and has as many cells as it says; no 2 x 2 block is all wall; islands never touch by an edge. Walls
// need not be connected. Several solutions may be right.
#include <algorithm>

#include "shared/task/kinds/kinds.h"
#include "shared/task/regions.h"

namespace fulmen::task {
namespace {

// First block of four walls in random order of places; -1: none.
int wall_block(const std::vector<int>& island, int n, Random& random) {
  std::vector<int> blocks;
  for (int r = 0; r + 1 < n; ++r)
    for (int c = 0; c + 1 < n; ++c)
      if (island[static_cast<size_t>(r * n + c)] + island[static_cast<size_t>(r * n + c + 1)] +
              island[static_cast<size_t>((r + 1) * n + c)] + island[static_cast<size_t>((r + 1) * n + c + 1)] ==
          0)
        blocks.push_back(r * n + c);
  return blocks.empty() ? -1 : random.pick(blocks);
}

// island[i]: 0 wall, else the island's number from 1. A new island grows from a cell of a block of walls.
bool grow(Random& random, std::vector<int>& island, int n, int largest) {
  for (int name = 1;; ++name) {
    const int block = wall_block(island, n, random);
    if (block == -1) return true;
    const auto is_free = [&](int cell) {
      const auto around = edge_neighbours(cell, n, n);
      return island[static_cast<size_t>(cell)] == 0 && std::all_of(around.begin(), around.end(), [&](int j) {
               return island[static_cast<size_t>(j)] == 0 || island[static_cast<size_t>(j)] == name;
             });
    };
    std::vector<int> starts;
    for (const int cell : {block, block + 1, block + n, block + n + 1})
      if (is_free(cell)) starts.push_back(cell);
    if (starts.empty()) return false;
    std::vector<int> cells{random.pick(starts)};
    island[static_cast<size_t>(cells[0])] = name;
    const int wanted = random.between(1, largest);
    while (static_cast<int>(cells.size()) < wanted) {
      std::vector<int> next;
      for (const int cell : cells)
        for (const int j : edge_neighbours(cell, n, n))
          if (is_free(j)) next.push_back(j);
      if (next.empty()) break;
      cells.push_back(random.pick(next));
      island[static_cast<size_t>(cells.back())] = name;
    }
  }
}

Problem generate(Random& random, int difficulty) {
  static constexpr int kSides[] = {3, 4, 4, 5, 5, 6, 6, 7, 8, 9};
  const int n = kSides[difficulty - 1];
  std::vector<int> island;
  do island.assign(static_cast<size_t>(n * n), 0);
  while (!grow(random, island, n, 2 + n / 2));
  Words given(static_cast<size_t>(n), std::vector<std::string>(static_cast<size_t>(n), "."));
  Words solution = given;
  const int islands = *std::max_element(island.begin(), island.end());
  for (int name = 1; name <= islands; ++name) {
    std::vector<int> cells;
    for (int i = 0; i < n * n; ++i)
      if (island[static_cast<size_t>(i)] == name) cells.push_back(i);
    const int place = random.pick(cells);
    given[static_cast<size_t>(place / n)][static_cast<size_t>(place % n)] = std::to_string(cells.size());
  }
  for (int i = 0; i < n * n; ++i) {
    std::string& cell = solution[static_cast<size_t>(i / n)][static_cast<size_t>(i % n)];
    cell = given[static_cast<size_t>(i / n)][static_cast<size_t>(i % n)];
    if (island[static_cast<size_t>(i)] == 0) cell = "A";
  }
  Problem p;
  p.size = n * n - islands;
  p.puzzle = {{"grid", given}};
  p.answer = grid_text(solution);
  p.prompt =
      "Number wall: turn some dots into walls (A) so that the other cells form islands. The cells of an island are "
      "connected by edges; every island holds exactly one number and has as many cells as the number says; two islands "
      "never share an edge; no 2 x 2 block is all wall.\n\n" +
      grid_text(given) + "\n" +
      answer_request(
          "the whole grid: A for a wall, . for a cell of an island, the numbers kept; cells separated by blanks");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Words given = word_grid(q.puzzle, "grid");
  const int h = static_cast<int>(given.size()), w = static_cast<int>(given[0].size());
  const auto grid = read_grid(answer, given.size(), given[0].size());
  if (!grid) return unreadable(fmt::format("want {} rows of {} cells", h, w));
  const auto in = [w](const Words& g, int i) -> const std::string& {
    return g[static_cast<size_t>(i / w)][static_cast<size_t>(i % w)];
  };
  for (int i = 0; i < h * w; ++i) {
    const std::string& cell = in(*grid, i);
    const bool numbered = in(given, i) != "." && in(given, i) != "X";
    if (numbered ? cell != in(given, i) : cell != "A" && cell != "." && cell != "X")
      return wrong(numbered ? "a given number is changed" : "a cell is neither A nor .");
    if (i / w + 1 < h && i % w + 1 < w && cell == "A" && in(*grid, i + 1) == "A" && in(*grid, i + w) == "A" &&
        in(*grid, i + w + 1) == "A")
      return wrong("a 2 x 2 block is all wall");
  }
  std::vector<bool> seen(static_cast<size_t>(h * w));
  for (int i = 0; i < h * w; ++i) {
    if (seen[static_cast<size_t>(i)] || in(*grid, i) == "A") continue;
    std::vector<int> cells{i};
    seen[static_cast<size_t>(i)] = true;
    int64_t numbers = 0, want = 0;
    for (size_t k = 0; k < cells.size(); ++k) {
      const std::string& cell = in(given, cells[k]);
      if (cell != "." && cell != "X") {
        const auto value = integer(cell);
        if (!value) throw Error("puzzle: grid: want numbers, . and X");
        ++numbers, want = *value;
      }
      for (const int j : edge_neighbours(cells[k], h, w)) {
        if (seen[static_cast<size_t>(j)] || in(*grid, j) == "A") continue;
        seen[static_cast<size_t>(j)] = true;
        cells.push_back(j);
      }
    }
    if (numbers != 1) return wrong(fmt::format("an island holds {} numbers", numbers));
    if (want != static_cast<int64_t>(cells.size()))
      return wrong(fmt::format("the island of {} has {} cells", want, cells.size()));
  }
  return right();
}

}  // namespace

const Task kNumberWall{.id = 12,
                       .name = "number_wall",
                       .sentence = "walls that leave islands of given sizes",
                       .size_means = "cells to decide",
                       .generate = generate,
                       .verify = verify};

}  // namespace fulmen::task
