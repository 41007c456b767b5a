// minesweeper: some cells of a mine field are open and show how many of their eight neighbours hold a mine; X is not
// open. Asked: every cell that must hold a mine, in whatever way mines are laid that fit the numbers.
#include <algorithm>
#include <set>

#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

std::vector<int> around(int cell, int n) {
  std::vector<int> out;
  for (int r = std::max(0, cell / n - 1); r <= std::min(n - 1, cell / n + 1); ++r)
    for (int c = std::max(0, cell % n - 1); c <= std::min(n - 1, cell % n + 1); ++c)
      if (r * n + c != cell) out.push_back(r * n + c);
  return out;
}

struct Clue {
  std::vector<int> hidden;  // closed neighbours
  int mines = 0;
};

// Every cell that is a mine in all layouts: those for which "no mine" contradicts the clues. A budget that runs out
// makes the field unusable.
bool certain_mines(const std::vector<Clue>& clues, size_t cells, std::set<int>& mines) {
  const Narrow narrow = [&](Domains& d) {
    for (const Clue& clue : clues) {
      int sure = 0, possible = 0;
      for (const int i : clue.hidden) {
        sure += d[static_cast<size_t>(i)] == only(1);
        possible += (d[static_cast<size_t>(i)] & only(1)) != 0;
      }
      if (sure > clue.mines || possible < clue.mines) return false;
      for (const int i : clue.hidden) {
        Domain& x = d[static_cast<size_t>(i)];
        if (single(x)) continue;
        if (sure == clue.mines) x = only(0);
        if (possible == clue.mines) x = only(1);
      }
    }
    return true;
  };
  std::set<int> candidates;
  for (const Clue& clue : clues) candidates.insert(clue.hidden.begin(), clue.hidden.end());
  Domains start(cells, only(0));  // cells that no clue sees do not matter
  for (const int i : candidates) start[static_cast<size_t>(i)] = range(0, 1);
  for (const int i : candidates) {
    Domains without = start;
    without[static_cast<size_t>(i)] = only(0);
    const Found f = search(without, narrow, 1, 3000);
    if (!f.complete) return false;
    if (f.solutions == 0) mines.insert(i);
  }
  return true;
}

std::string places(const std::set<int>& cells, int n) {
  std::vector<std::string> out;
  for (const int i : cells) out.push_back(fmt::format("({},{})", i / n + 1, i % n + 1));
  return join(out, " ");
}

Problem generate(Random& random, int difficulty) {
  const int n = 4 + difficulty / 2;  // 4..9
  const int wanted = 1 + difficulty / 2;
  for (;;) {
    std::vector<bool> mine(static_cast<size_t>(n * n)), open(mine.size());
    for (size_t i = 0; i < mine.size(); ++i) mine[i] = random.chance(18);
    for (size_t i = 0; i < mine.size(); ++i) open[i] = random.chance(50) && !mine[i];
    std::vector<Clue> clues;
    Words grid(static_cast<size_t>(n));
    for (int i = 0; i < n * n; ++i) {
      auto& row = grid[static_cast<size_t>(i / n)];
      if (!open[static_cast<size_t>(i)]) {
        row.push_back("X");
        continue;
      }
      Clue clue;
      for (const int j : around(i, n)) {
        clue.mines += mine[static_cast<size_t>(j)];
        if (!open[static_cast<size_t>(j)]) clue.hidden.push_back(j);
      }
      row.push_back(std::to_string(clue.mines));
      clues.push_back(clue);
    }
    std::set<int> mines;
    if (!certain_mines(clues, mine.size(), mines) || static_cast<int>(mines.size()) < wanted) continue;
    Problem p;
    p.size = static_cast<int>(mines.size());
    p.puzzle = {{"grid", grid}};
    p.answer = places(mines, n);
    p.prompt =
        "Minesweeper: a number says how many of the up to eight cells around it hold a mine; X is not open yet. Which "
        "cells X hold a mine for certain, however the mines are laid?\n\n" +
        grid_text(grid) + "\n" +
        answer_request("all such cells as (row,column) from (1,1), in any order, separated by blanks");
    return p;
  }
}

Check verify(const Question& q, std::string_view answer) {
  const auto got = integers(answer), want = integers(q.gold);
  if (!want || want->size() % 2 != 0) throw Error("puzzle: the ground truth is no list of (row,column)");
  if (!got || got->size() % 2 != 0) return unreadable("want pairs (row,column)");
  const auto as_set = [](const std::vector<int>& v) {
    std::set<std::pair<int, int>> s;
    for (size_t i = 0; i < v.size(); i += 2) s.emplace(v[i], v[i + 1]);
    return s;
  };
  if (as_set(*got).size() * 2 != got->size()) return wrong("a cell comes twice");
  return as_set(*got) == as_set(*want) ? right() : wrong("not the cells that hold a mine for certain");
}

}  // namespace

const Task kMinesweeper{.id = 9,
                        .name = "minesweeper",
                        .sentence = "the cells that must hold a mine",
                        .size_means = "certain mines",
                        .generate = generate,
                        .verify = verify};

}  // namespace fulmen::task
