// campsite: put tents (C) on empty cells. Each tent stands beside a tree (T), not diagonally; no two tents touch, not
// even diagonally; the tents of each row and column are given; there are as many tents as trees.
#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

struct Camp {
  Words cells;  // "T", "C" or "."
  std::vector<int> rows, columns;
};

bool beside_tree(const Words& cells, int r, int c) {
  const int h = static_cast<int>(cells.size()), w = static_cast<int>(cells[0].size());
  for (const auto& [dr, dc] : {std::pair{0, 1}, {1, 0}, {0, -1}, {-1, 0}}) {
    const int y = r + dr, x = c + dc;
    if (y >= 0 && x >= 0 && y < h && x < w && cells[static_cast<size_t>(y)][static_cast<size_t>(x)] == "T") return true;
  }
  return false;
}

bool touches_tent(const Words& cells, int r, int c) {
  const int h = static_cast<int>(cells.size()), w = static_cast<int>(cells[0].size());
  for (int y = std::max(0, r - 1); y <= std::min(h - 1, r + 1); ++y)
    for (int x = std::max(0, c - 1); x <= std::min(w - 1, c + 1); ++x)
      if ((y != r || x != c) && cells[static_cast<size_t>(y)][static_cast<size_t>(x)] == "C") return true;
  return false;
}

// Tents one after the other, each with a tree on a free cell beside it.
Camp random_camp(Random& random, int n, int tents) {
  Camp camp{Words(static_cast<size_t>(n), std::vector<std::string>(static_cast<size_t>(n), ".")), {}, {}};
  const auto at = [&](int r, int c) -> std::string& {
    return camp.cells[static_cast<size_t>(r)][static_cast<size_t>(c)];
  };
  for (int tries = 0; tents > 0 && tries < 60 * n; ++tries) {
    const int r = random.below(static_cast<size_t>(n));
    const int c = random.below(static_cast<size_t>(n));
    const bool down = random.chance(50), forward = random.chance(50);
    const int tr = r + (down ? (forward ? 1 : -1) : 0), tc = c + (down ? 0 : (forward ? 1 : -1));
    if (tr < 0 || tc < 0 || tr >= n || tc >= n || at(r, c) != "." || at(tr, tc) != "." ||
        touches_tent(camp.cells, r, c))
      continue;
    at(r, c) = "C";
    at(tr, tc) = "T";
    --tents;
  }
  camp.rows.assign(static_cast<size_t>(n), 0);
  camp.columns.assign(static_cast<size_t>(n), 0);
  for (int r = 0; r < n; ++r)
    for (int c = 0; c < n; ++c)
      if (at(r, c) == "C") ++camp.rows[static_cast<size_t>(r)], ++camp.columns[static_cast<size_t>(c)];
  return camp;
}

bool narrow_count(Domains& d, const std::vector<int>& line, int wanted) {
  int least = 0, most = 0;
  for (const int c : line) {
    least += d[static_cast<size_t>(c)] == only(1);
    most += (d[static_cast<size_t>(c)] & only(1)) != 0;
  }
  if (wanted < least || wanted > most) return false;
  for (const int c : line) {
    Domain& x = d[static_cast<size_t>(c)];
    if (single(x)) continue;
    if (least == wanted) x = only(0);
    if (most == wanted) x = only(1);
  }
  return true;
}

bool has_one_solution(const Camp& camp) {
  const int n = static_cast<int>(camp.cells.size());
  const auto lines = rows_and_columns(n);
  Domains start;
  for (int r = 0; r < n; ++r)
    for (int c = 0; c < n; ++c)
      start.push_back(camp.cells[static_cast<size_t>(r)][static_cast<size_t>(c)] != "T" && beside_tree(camp.cells, r, c)
                          ? range(0, 1)
                          : only(0));
  const Narrow narrow = [&](Domains& d) {
    for (int i = 0; i < n * n; ++i) {
      if (d[static_cast<size_t>(i)] != only(1)) continue;
      const int r = i / n, c = i % n;
      for (int y = std::max(0, r - 1); y <= std::min(n - 1, r + 1); ++y)
        for (int x = std::max(0, c - 1); x <= std::min(n - 1, c + 1); ++x)
          if (y * n + x != i && (d[static_cast<size_t>(y * n + x)] &= only(0)) == 0) return false;
    }
    for (size_t i = 0; i < lines.size(); ++i)
      if (!narrow_count(d, lines[i], (i % 2 == 0 ? camp.rows : camp.columns)[i / 2])) return false;
    return true;
  };
  return search(start, narrow, 2, 400).unique();
}

Problem generate(Random& random, int difficulty) {
  const int n = 4 + difficulty / 2;  // 4..9
  const int tents = n * n / 6 + difficulty / 3;
  Camp camp;
  for (int attempt = 0; attempt < 40; ++attempt) {
    camp = random_camp(random, n, tents);
    if (has_one_solution(camp)) break;
  }
  Words given = camp.cells;
  int placed = 0;
  for (auto& row : given)
    for (std::string& cell : row)
      if (cell == "C") cell = ".", ++placed;
  Problem p;
  p.size = placed;
  p.puzzle = {{"grid", given}, {"row_tents", camp.rows}, {"column_tents", camp.columns}};
  p.answer = grid_text(camp.cells);
  p.prompt =
      fmt::format(
          "Campsite: put tents (C) on empty cells (.) of the grid; T is a tree. Each tent stands directly above, "
          "below, left or right of a tree; no two tents touch, not even diagonally; there are as many tents as "
          "trees. Tents in each row, from the top: {}. Tents in each column, from the left: {}.\n\n{}\n",
          fmt::join(camp.rows, " "), fmt::join(camp.columns, " "), grid_text(given)) +
      answer_request("the whole grid with its tents, one row a line, cells separated by blanks");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Words given = word_grid(q.puzzle, "grid");
  const auto rows = int_list(q.puzzle, "row_tents", 0, kMaxSide),
             columns = int_list(q.puzzle, "column_tents", 0, kMaxSide);
  if (rows.size() != given.size() || columns.size() != given[0].size())
    throw Error("puzzle: row_tents, column_tents: want one number for each row and column");
  const auto grid = read_grid(answer, rows.size(), columns.size());
  if (!grid) return unreadable(fmt::format("want {} rows of {} cells", rows.size(), columns.size()));
  std::vector<int> row_tents(rows.size()), column_tents(columns.size());
  int trees = 0, tents = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < columns.size(); ++c) {
      const std::string& cell = (*grid)[r][c];
      if ((cell == "T") != (given[r][c] == "T")) return wrong("a tree is moved");
      trees += cell == "T";
      if (cell != "T" && cell != "C" && cell != "." && cell != "X") return unreadable("a cell is neither T, C nor .");
      if (cell != "C") continue;
      ++tents, ++row_tents[r], ++column_tents[c];
      if (!beside_tree(*grid, static_cast<int>(r), static_cast<int>(c))) return wrong("a tent stands beside no tree");
      if (touches_tent(*grid, static_cast<int>(r), static_cast<int>(c))) return wrong("two tents touch");
    }
  }
  if (row_tents != rows || column_tents != columns) return wrong("a row or column has another number of tents");
  return tents == trees ? right() : wrong(fmt::format("{} tents for {} trees", tents, trees));
}

}  // namespace

const Task kCampsite{.id = 6,
                     .name = "campsite",
                     .sentence = "tents beside trees, none touching, counts by row and column",
                     .size_means = "tents",
                     .generate = generate,
                     .verify = verify};

}  // namespace fulmen::task
