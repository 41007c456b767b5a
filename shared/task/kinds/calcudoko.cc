// calcudoko: a Latin square of 1..n cut into cages; the numbers of a cage combine to its target. + and * take any
// number of cells; - and / take the largest first and the others away from it, and have two cells here. With "distinct"
// (always, here) no number comes twice inside a cage. One solution.
#include <algorithm>
#include <numeric>

#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

struct Cage {
  std::vector<int> cells;  // row * n + column
  char op = '+';
  int target = 0;
};

// The value of a cage, or -1 where division leaves a rest.
int combine(char op, std::vector<int> v) {
  std::sort(v.rbegin(), v.rend());
  int64_t value = v[0];
  for (size_t i = 1; i < v.size(); ++i) {
    if (op == '+') value += v[i];
    if (op == '-') value -= v[i];
    if (op == '*') value = std::min<int64_t>(value * v[i], 1'000'000'000);
    if (op == '/') {
      if (value % v[i] != 0) return -1;
      value /= v[i];
    }
  }
  return static_cast<int>(value);
}

// SynLogic's way with - and /: of the largest and the smallest alone, the quotient rounded down.
int combine_extremes(char op, const std::vector<int>& v) {
  const auto [low, high] = std::minmax_element(v.begin(), v.end());
  return op == '-' ? *high - *low : op == '/' ? *high / *low : combine(op, v);
}

bool fits(const Domains& d, const Cage& cage) {
  std::vector<int> known;
  for (const int c : cage.cells)
    if (single(d[static_cast<size_t>(c)])) known.push_back(value_of(d[static_cast<size_t>(c)]));
  if (known.size() == cage.cells.size()) return combine(cage.op, known) == cage.target;
  int least_sum = 0, most_sum = 0;
  int64_t least = 1, most = 1;
  for (const int c : cage.cells) {
    const Domain x = d[static_cast<size_t>(c)];
    const int low = value_of(x), high = 63 - __builtin_clzll(x);
    least_sum += low, most_sum += high, least *= low, most *= high;
  }
  if (cage.op == '+') return least_sum <= cage.target && cage.target <= most_sum;
  if (cage.op == '*') return least <= cage.target && cage.target <= most;
  return true;
}

// Pairs decide by trying; larger cages by bounds.
bool narrow_cage(Domains& d, const Cage& cage) {
  if (!fits(d, cage)) return false;
  if (cage.cells.size() != 2) return true;
  Domain& a = d[static_cast<size_t>(cage.cells[0])];
  Domain& b = d[static_cast<size_t>(cage.cells[1])];
  Domain keep_a = 0, keep_b = 0;
  for (Domain x = a; x != 0; x &= x - 1) {
    for (Domain y = b; y != 0; y &= y - 1) {
      if (value_of(x) == value_of(y) || combine(cage.op, {value_of(x), value_of(y)}) != cage.target) continue;
      keep_a |= only(value_of(x)), keep_b |= only(value_of(y));
    }
  }
  a = keep_a, b = keep_b;
  return a != 0 && b != 0;
}

// Cages grown from random cells over unused neighbours whose number is new to the cage.
std::vector<Cage> random_cages(Random& random, const Numbers& solution, int largest) {
  const int n = static_cast<int>(solution.size());
  const auto number = [&](int c) { return solution[static_cast<size_t>(c / n)][static_cast<size_t>(c % n)]; };
  std::vector<bool> used(static_cast<size_t>(n * n));
  std::vector<int> order(static_cast<size_t>(n * n));
  std::iota(order.begin(), order.end(), 0);
  random.shuffle(order);
  std::vector<Cage> cages;
  for (const int seed : order) {
    if (used[static_cast<size_t>(seed)]) continue;
    Cage cage;
    cage.cells = {seed};
    used[static_cast<size_t>(seed)] = true;
    const size_t wanted = static_cast<size_t>(random.between(2, largest));
    while (cage.cells.size() < wanted) {
      std::vector<int> next;
      for (const int c : cage.cells) {
        for (const auto& [dr, dc] : {std::pair{0, 1}, {1, 0}, {0, -1}, {-1, 0}}) {
          const int r = c / n + dr, k = c % n + dc;
          if (r < 0 || k < 0 || r >= n || k >= n || used[static_cast<size_t>(r * n + k)]) continue;
          const int other = r * n + k;
          if (std::none_of(cage.cells.begin(), cage.cells.end(), [&](int m) { return number(m) == number(other); }))
            next.push_back(other);
        }
      }
      if (next.empty()) break;
      cage.cells.push_back(random.pick(next));
      used[static_cast<size_t>(cage.cells.back())] = true;
    }
    std::vector<int> values;
    for (const int c : cage.cells) values.push_back(number(c));
    std::string ops = "+";
    if (values.size() > 1) ops += '*';
    if (values.size() == 2) ops += "-";
    if (values.size() == 2 && combine('/', values) > 0) ops += "//";
    cage.op = ops[static_cast<size_t>(random.below(ops.size()))];
    cage.target = combine(cage.op, values);
    cages.push_back(cage);
  }
  return cages;
}

Problem generate(Random& random, int difficulty) {
  const int n = difficulty <= 2 ? 3 : difficulty <= 5 ? 4 : difficulty <= 8 ? 5 : 6;
  const int largest = difficulty <= 4 ? 3 : 4;
  const Numbers solution = random_latin_square(random, n);
  const auto groups = rows_and_columns(n);
  std::vector<Cage> cages = random_cages(random, solution, largest);
  const Narrow narrow = [&](Domains& d) {
    for (const auto& g : groups)
      if (!all_different(d, g)) return false;
    for (const Cage& cage : cages) {
      if (!narrow_cage(d, cage)) return false;
    }
    return true;
  };
  // Several solutions: a cell in which two differ becomes a cage of its own.
  for (;;) {
    const Found f = search(Domains(static_cast<size_t>(n * n), range(1, n)), narrow, 2, 3000);
    if (f.unique()) break;
    std::vector<int> splittable;
    for (size_t i = 0; i < cages.size(); ++i)
      if (cages[i].cells.size() > 1) splittable.push_back(static_cast<int>(i));
    Cage& cage = cages[static_cast<size_t>(random.pick(splittable))];
    const int cell = cage.cells.back();
    cage.cells.pop_back();
    std::vector<int> values;
    for (const int c : cage.cells) values.push_back(solution[static_cast<size_t>(c / n)][static_cast<size_t>(c % n)]);
    if (values.size() == 1) cage.op = '+';
    cage.target = combine(cage.op, values);
    if (cage.target < 0) cage.op = '+', cage.target = combine('+', values);
    cages.push_back({{cell}, '+', solution[static_cast<size_t>(cell / n)][static_cast<size_t>(cell % n)]});
  }
  Problem p;
  Json list = Json::array();
  p.prompt = fmt::format(
      "Calcudoku on a {0} x {0} grid: every row and every column holds 1 to {0} once. The grid is cut into cages of "
      "cells "
      "named (row,column) from (1,1). The numbers of a cage are all different and give its target: their sum (+), "
      "product (*), difference of two (-) or quotient of two (/), the larger first.\n\n",
      n);
  for (const Cage& cage : cages) {
    std::vector<int> cells = cage.cells;
    std::sort(cells.begin(), cells.end());
    p.size += cells.size() > 1 ? static_cast<int>(cells.size()) : 0;
    Json places = Json::array();
    std::string names;
    for (const int c : cells) {
      places.push_back({c / n, c % n});
      names += fmt::format("({},{})", c / n + 1, c % n + 1);
    }
    p.prompt += cells.size() == 1 ? fmt::format("{}: {}\n", names, cage.target)
                                  : fmt::format("{}: {}{}\n", names, cage.target, cage.op);
    list.push_back({{"cells", places}, {"op", std::string(1, cage.op)}, {"target", cage.target}});
  }
  p.prompt += answer_request(fmt::format("the {} rows, the numbers of a row separated by blanks", n));
  p.puzzle = {{"n", n}, {"cages", list}, {"distinct", true}};
  p.answer = grid_text(solution);
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const int n = int_field(q.puzzle, "n", 1, kMaxSide);
  const Numbers none(static_cast<size_t>(n), std::vector<int>(static_cast<size_t>(n)));
  const GridAnswer a = read_latin_square(answer, none);
  if (a.check.finding != Finding::kRight) return a.check;
  const bool distinct = bool_field(q.puzzle, "distinct", true), extremes = bool_field(q.puzzle, "extremes", false);
  for (const Json& cage : list_field(q.puzzle, "cages")) {
    const std::string op = text_field(cage, "op");
    if (op.size() != 1 || std::string("+-*/").find(op) == std::string::npos) throw Error("puzzle: op: want + - * or /");
    std::vector<int> values;
    for (const Json& place : list_field(cage, "cells")) {
      const auto rc = int_tuple(place, "cells", 2, 0, n - 1);
      values.push_back(a.grid[static_cast<size_t>(rc[0])][static_cast<size_t>(rc[1])]);
    }
    if (values.empty()) throw Error("puzzle: cells: want at least one");
    const int target = int_field(cage, "target", -1'000'000'000, 1'000'000'000);
    if ((extremes ? combine_extremes(op[0], values) : combine(op[0], values)) != target)
      return wrong(fmt::format("the cage {}{} has another value", target, op));
    std::sort(values.begin(), values.end());
    if (distinct && std::adjacent_find(values.begin(), values.end()) != values.end())
      return wrong(fmt::format("the cage {}{} holds a number twice", target, op));
  }
  return right();
}

}  // namespace

const Task kCalcudoko{.id = 4,
                      .name = "calcudoko",
                      .sentence = "a Latin square with cages that add, multiply, subtract or divide to a target",
                      .size_means = "cells in cages of two or more",
                      .generate = generate,
                      .verify = verify};

}  // namespace fulmen::task
