// wordscapes: a crossword with lists of the words across and down; some letters are shown. Every run of two or more
// cells spells a word of its list, and every word is used once.
#include <algorithm>
#include <array>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

struct Board {
  Words cells;                            // "0" outside, else a letter
  std::vector<std::string> across, down;  // the words laid
};

// Whether a word fits: on free cells or its own letters, with nothing at its ends and, where it lays new letters,
// nothing beside it; it must cross something unless the board is empty.
bool fits(const Board& b, const std::string& word, int r, int c, bool is_down) {
  const int n = static_cast<int>(b.cells.size());
  const auto at = [&](int y, int x) -> std::string {
    return y < 0 || x < 0 || y >= n || x >= n ? "0" : b.cells[static_cast<size_t>(y)][static_cast<size_t>(x)];
  };
  const int dr = is_down ? 1 : 0, dc = is_down ? 0 : 1, length = static_cast<int>(word.size());
  if (r < 0 || c < 0 || r + dr * (length - 1) >= n || c + dc * (length - 1) >= n) return false;
  if (at(r - dr, c - dc) != "0" || at(r + dr * length, c + dc * length) != "0") return false;
  int crossings = 0, last_crossing = -2;
  for (int i = 0; i < length; ++i) {
    const int y = r + dr * i, x = c + dc * i;
    const std::string there = at(y, x);
    if (there != "0") {
      if (there[0] != word[static_cast<size_t>(i)]) return false;
      if (last_crossing == i - 1) return false;  // two in a row: along a word of the same direction
      last_crossing = i;
      ++crossings;
    } else if (at(y + dc, x + dr) != "0" || at(y - dc, x - dr) != "0") {
      return false;
    }
  }
  return crossings < length && (crossings > 0 || (b.across.empty() && b.down.empty()));
}

void lay(Board& b, const std::string& word, int r, int c, bool is_down) {
  for (size_t i = 0; i < word.size(); ++i)
    b.cells[static_cast<size_t>(r) + (is_down ? i : 0)][static_cast<size_t>(c) + (is_down ? 0 : i)] =
        std::string(1, word[i]);
  (is_down ? b.down : b.across).push_back(word);
}

Board random_board(Random& random, int n, int wanted) {
  Board b{Words(static_cast<size_t>(n), std::vector<std::string>(static_cast<size_t>(n), "0")), {}, {}};
  std::vector<std::string> words = english_words();
  random.shuffle(words);
  for (const std::string& word : words) {
    const int length = static_cast<int>(word.size());
    if (static_cast<int>(b.across.size() + b.down.size()) == wanted) break;
    if (length > n || length > 7) continue;
    if (b.across.empty()) {
      lay(b, word, n / 2, (n - length) / 2, false);
      continue;
    }
    std::vector<std::array<int, 3>> spots;
    for (int r = 0; r < n; ++r)
      for (int c = 0; c < n; ++c)
        for (int down = 0; down < 2; ++down)
          if (fits(b, word, r, c, down == 1)) spots.push_back({r, c, down});
    if (spots.empty()) continue;
    const auto spot = random.pick(spots);
    lay(b, word, spot[0], spot[1], spot[2] == 1);
  }
  return b;
}

// Words that the cells spell along rows or columns, sorted.
std::vector<std::string> runs(const Words& cells, bool is_down) {
  const size_t h = cells.size(), w = cells[0].size();
  std::vector<std::string> out;
  for (size_t i = 0; i < (is_down ? w : h); ++i) {
    std::string run;
    for (size_t j = 0; j <= (is_down ? h : w); ++j) {
      const std::string cell = j == (is_down ? h : w) ? "0" : is_down ? cells[j][i] : cells[i][j];
      if (cell != "0") {
        run += cell;
      } else {
        if (run.size() > 1) out.push_back(run);
        run.clear();
      }
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

Problem generate(Random& random, int difficulty) {
  const int n = 7 + difficulty / 3, wanted = 2 + difficulty;
  Board board = random_board(random, n, wanted);
  std::sort(board.across.begin(), board.across.end());
  std::sort(board.down.begin(), board.down.end());
  Problem p;
  Words given = board.cells;
  for (auto& row : given)
    for (std::string& cell : row)
      if (cell != "0" && !random.chance(12)) cell = "X", ++p.size;
  p.puzzle = {{"grid", given}, {"across", board.across}, {"down", board.down}};
  p.answer = grid_text(board.cells);
  p.prompt =
      fmt::format(
          "Fill in this crossword: X is a cell for a letter, 0 is no cell. Every run of two or more cells spells a "
          "word of its list; every word is used once.\nAcross: {}\nDown: {}\n\n{}\n",
          join(board.across, ", "), join(board.down, ", "), grid_text(given)) +
      answer_request("the whole grid with letters for X, one row a line, cells separated by blanks");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const Words given = word_grid(q.puzzle, "grid");
  auto across = text_list(q.puzzle, "across"), down = text_list(q.puzzle, "down");
  auto grid = read_grid(answer, given.size(), given[0].size());
  if (!grid) return unreadable(fmt::format("want {} rows of {} cells", given.size(), given[0].size()));
  for (size_t r = 0; r < given.size(); ++r)
    for (size_t c = 0; c < given[r].size(); ++c) {
      std::string& cell = (*grid)[r][c];
      if (given[r][c] == "X" && cell == "X") return wrong("a cell is not filled");
      cell = folded(cell);
      const bool is_letter = cell.size() == 1 && cell[0] >= 'a' && cell[0] <= 'z';
      if (given[r][c] == "X" ? !is_letter : cell != given[r][c])
        return wrong("a given cell is changed, or a cell is no letter");
    }
  std::sort(across.begin(), across.end());
  std::sort(down.begin(), down.end());
  if (runs(*grid, false) != across) return wrong("the words across are others");
  return runs(*grid, true) == down ? right() : wrong("the words down are others");
}

}  // namespace

const Task kWordscapes{.id = 33,
                       .name = "wordscapes",
                       .sentence = "a crossword with its list of words",
                       .size_means = "cells to fill",
                       .generate = generate,
                       .verify = verify};

}  // namespace fulmen::task
