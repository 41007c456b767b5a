// buggy_tables: a table was written out with a described defect of the program; undo it and answer a question about a
// column. Whole numbers; a mean is asked for as a fraction or a decimal.
#include <algorithm>

#include "shared/task/expression.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

using Table = std::vector<std::vector<int>>;  // rows

const std::vector<std::string>& column_names() {
  static const std::vector<std::string> names{"steps", "calls",    "minutes", "litres",
                                              "pages", "meetings", "coffees", "emails"};
  return names;
}

std::string listed(const std::vector<std::string>& header, const Table& rows) {
  std::vector<std::string> lines{join(header, ", ")};
  for (const auto& row : rows) lines.push_back(fmt::format("{}", fmt::join(row, ", ")));
  return join(lines, "\n");
}

// Damages the table in one of five ways that can be undone, and says how.
std::string damage(Random& random, std::vector<std::string>& header, Table& rows) {
  const size_t h = rows.size(), w = header.size();
  switch (random.below(5)) {
    case 0: {
      for (size_t r = 0; r < h; ++r)
        std::rotate(rows[r].rbegin(), rows[r].rbegin() + static_cast<std::ptrdiff_t>(r % w), rows[r].rend());
      return "The values of data row i (counted from 0) were moved i places to the right, those that fell off the end "
             "coming "
             "in again at the left; the header is right.";
    }
    case 1: {
      for (size_t c = 0; c < w; ++c) {
        std::vector<int> column;
        for (const auto& row : rows) column.push_back(row[c]);
        std::rotate(column.rbegin(), column.rbegin() + static_cast<std::ptrdiff_t>(c % h), column.rend());
        for (size_t r = 0; r < h; ++r) rows[r][c] = column[r];
      }
      return "The values of column j (counted from 0) were moved j rows down, those that fell off the end coming in "
             "again at "
             "the top; the header is right.";
    }
    case 2: {
      for (auto& row : rows) row.push_back(random.between(0, 99));
      return "A number that means nothing was appended to every data row.";
    }
    case 3: {
      std::reverse(header.begin(), header.end());
      return "The names in the header were written from right to left; the data rows are right.";
    }
    default: {
      for (size_t r = 1; r < h; r += 2) std::reverse(rows[r].begin(), rows[r].end());
      return "Every second data row, beginning with the second, was written from right to left.";
    }
  }
}

Problem generate(Random& random, int difficulty) {
  const size_t w = static_cast<size_t>(3 + difficulty / 2), h = static_cast<size_t>(3 + difficulty);
  std::vector<std::string> header = random.sample(column_names(), w);
  Table rows(h, std::vector<int>(w));
  for (auto& row : rows)
    for (int& v : row) v = random.between(0, 99);
  const size_t asked = static_cast<size_t>(random.below(w));
  const size_t condition = (asked + 1 + static_cast<size_t>(random.below(w - 1))) % w;
  const int limit = random.between(20, 70);
  const bool above = random.chance(50);
  const int question = random.below(difficulty >= 4 ? 4 : 3);
  std::vector<int> chosen;
  for (const auto& row : rows)
    if (above ? row[condition] > limit : row[condition] <= limit) chosen.push_back(row[asked]);
  int sum = 0;
  for (const int v : chosen) sum += v;
  static constexpr const char* kAsked[] = {"the sum", "the largest value", "the number of different values",
                                           "the mean"};
  std::string answer = std::to_string(sum);
  if (question == 1) answer = chosen.empty() ? "0" : std::to_string(*std::max_element(chosen.begin(), chosen.end()));
  if (question == 2) {
    std::sort(chosen.begin(), chosen.end());
    answer = std::to_string(std::unique(chosen.begin(), chosen.end()) - chosen.begin());
  }
  if (question == 3)
    answer = chosen.empty() ? "0" : text_of(*apply('/', {sum, 1}, {static_cast<int64_t>(chosen.size()), 1}));
  const std::string asked_name = header[asked], condition_name = header[condition];
  const std::string defect = damage(random, header, rows);
  Problem p;
  p.size = static_cast<int>(w * h);
  p.puzzle = {{"table", listed(header, rows)}, {"defect", defect}};
  p.answer = answer;
  p.prompt =
      fmt::format(
          "A program wrote this table, header first, with a defect.\n{}\n\nThe defect: {}\nOf the true table, what is "
          "{} of {} over the rows whose {} is {} {}? (0 when there is no such row.)\n",
          listed(header, rows), defect, kAsked[question], asked_name, condition_name, above ? "above" : "at most",
          limit) +
      answer_request("a number; a mean that is not whole as a fraction such as 7/2");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const auto want = read_fraction(q.gold), got = read_fraction(answer);
  if (!want) throw Error("puzzle: the ground truth is not a number");
  if (!got) return unreadable("want an integer, a fraction or a decimal");
  return *got == *want ? right() : wrong("not the number");
}

}  // namespace

const Task kBuggyTables{.id = 34,
                        .name = "buggy_tables",
                        .sentence = "undo the defect of a table and look something up",
                        .size_means = "cells of the table",
                        .generate = generate,
                        .verify = verify};

}  // namespace fulmen::task
