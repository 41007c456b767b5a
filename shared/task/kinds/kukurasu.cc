// kukurasu: mark cells with 1. In a row, a mark in column j counts j; in a column, a mark in row i counts i. The sums
// of all rows and columns are given. One solution.
#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

// A line's sum lies between what is marked and what still may be; cells that would leave that range are settled.
bool narrow_sum(Domains& d, const std::vector<int>& line, int sum) {
  int least = 0, most = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const Domain x = d[static_cast<size_t>(line[i])];
    const int weight = static_cast<int>(i) + 1;
    if (x == only(1)) least += weight;
    if (x & only(1)) most += weight;
  }
  if (sum < least || sum > most) return false;
  for (size_t i = 0; i < line.size(); ++i) {
    Domain& x = d[static_cast<size_t>(line[i])];
    const int weight = static_cast<int>(i) + 1;
    if (single(x)) continue;
    if (least + weight > sum) x = only(0);
    if (most - weight < sum) x &= only(1);
    if (x == 0) return false;
  }
  return true;
}

Problem generate(Random& random, int difficulty) {
  const int n = 3 + (difficulty + 1) / 2;  // 4..8
  const auto lines = rows_and_columns(n);
  Numbers marks;
  std::vector<int> sums;
  for (int attempt = 0; attempt < 40; ++attempt) {
    marks.assign(static_cast<size_t>(n), std::vector<int>(static_cast<size_t>(n)));
    for (auto& row : marks)
      for (int& v : row) v = random.chance(difficulty % 2 == 0 ? 55 : 65) ? 1 : 0;
    sums.clear();
    for (const auto& line : lines) {
      int sum = 0;
      for (size_t i = 0; i < line.size(); ++i)
        sum += marks[static_cast<size_t>(line[i] / n)][static_cast<size_t>(line[i] % n)] * (static_cast<int>(i) + 1);
      sums.push_back(sum);
    }
    const Narrow narrow = [&](Domains& d) {
      for (size_t i = 0; i < lines.size(); ++i)
        if (!narrow_sum(d, lines[i], sums[i])) return false;
      return true;
    };
    if (search(Domains(static_cast<size_t>(n * n), range(0, 1)), narrow, 2, 600).unique()) break;
  }
  std::vector<int> rows, columns;
  for (size_t i = 0; i < sums.size(); ++i) (i % 2 == 0 ? rows : columns).push_back(sums[i]);
  Problem p;
  p.size = n * n;
  p.puzzle = {{"row_sums", rows}, {"column_sums", columns}};
  Words solution;
  for (const auto& row : marks) {
    solution.emplace_back();
    for (const int v : row) solution.back().push_back(v == 1 ? "1" : ".");
  }
  p.answer = grid_text(solution);
  p.prompt =
      fmt::format(
          "Kukurasu on a {0} x {0} grid: mark some cells. In a row, a mark in column j counts j points; in a "
          "column, a mark in row i counts i points (both from 1). The points of the rows, from the top, must be: "
          "{1}. The points of the columns, from the left, must be: {2}.\n",
          n, fmt::join(rows, " "), fmt::join(columns, " ")) +
      answer_request(fmt::format("{0} rows of {0} cells separated by blanks, 1 for a mark and . for none", n));
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const auto rows = int_list(q.puzzle, "row_sums", 0, 1000), columns = int_list(q.puzzle, "column_sums", 0, 1000);
  if (rows.empty() || columns.empty() || rows.size() > kMaxSide || columns.size() > kMaxSide)
    throw Error("puzzle: row_sums, column_sums: want 1..32 of each");
  const auto grid = read_grid(answer, rows.size(), columns.size());
  if (!grid) return unreadable(fmt::format("want {} rows of {} cells", rows.size(), columns.size()));
  std::vector<int> row_points(rows.size()), column_points(columns.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < columns.size(); ++c) {
      const std::string& cell = (*grid)[r][c];
      if (cell != "1" && cell != "." && cell != "0" && cell != "X") return unreadable("a cell is neither 1 nor .");
      if (cell != "1") continue;
      row_points[r] += static_cast<int>(c) + 1;
      column_points[c] += static_cast<int>(r) + 1;
    }
  }
  if (row_points != rows) return wrong("the points of a row are others");
  return column_points == columns ? right() : wrong("the points of a column are others");
}

}  // namespace

const Task kKukurasu{.id = 5,
                     .name = "kukurasu",
                     .sentence = "mark cells so that weighted sums of rows and columns come out",
                     .size_means = "cells",
                     .generate = generate,
                     .verify = verify};

}  // namespace fulmen::task
