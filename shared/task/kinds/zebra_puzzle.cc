// zebra_puzzle: n houses in a row; people, and what each has, one of a kind in every house. Clues fix it all. Asked:
// the whole table. One solution.
#include <algorithm>
#include <functional>

#include "shared/task/domains.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

struct Category {
  const char* name;
  std::vector<std::string> values;
  const char* person;  // "the one with the {}"
};

const std::vector<Category>& categories() {
  static const std::vector<Category> all{
      {"name", {"Ada", "Ben", "Clara", "David", "Emma", "Felix"}, "{}"},
      {"pet", {"cat", "dog", "fish", "horse", "parrot", "rabbit"}, "the owner of the {}"},
      {"drink", {"coffee", "juice", "milk", "soup", "tea", "water"}, "the drinker of {}"},
      {"colour", {"black", "blue", "green", "red", "white", "yellow"}, "the one in the {} house"},
      {"hobby", {"chess", "dance", "golf", "music", "poetry", "tennis"}, "the friend of {}"},
  };
  return all;
}

enum class Relation { kSame, kLeftOf, kNextTo, kAt, kNotSame };

struct Clue {
  Relation relation = Relation::kSame;
  int a = 0, b = 0;  // variables: category * n + value; kAt: b is the house from 0
};

// The variable (category, value) holds its house.
Narrow narrow_of(const std::vector<Clue>& clues, int kinds, int n) {
  std::vector<std::vector<int>> groups;
  for (int k = 0; k < kinds; ++k) {
    groups.emplace_back();
    for (int v = 0; v < n; ++v) groups.back().push_back(k * n + v);
  }
  return [&clues, groups](Domains& d) {
    for (const Clue& clue : clues) {
      Domain& a = d[static_cast<size_t>(clue.a)];
      if (clue.relation == Relation::kAt) {
        a &= only(clue.b);
        if (a == 0) return false;
        continue;
      }
      Domain& b = d[static_cast<size_t>(clue.b)];
      switch (clue.relation) {
        case Relation::kSame:
          a &= b, b = a;
          break;
        case Relation::kLeftOf:
          a &= b >> 1, b &= a << 1;
          break;
        case Relation::kNextTo:
          a &= b >> 1 | b << 1, b &= a >> 1 | a << 1;
          break;
        default:
          if (single(a)) b &= ~a;
          if (single(b)) a &= ~b;
      }
      if (a == 0 || b == 0) return false;
    }
    return std::all_of(groups.begin(), groups.end(), [&](const auto& g) { return all_different(d, g); });
  };
}

std::string called(int variable, int n) {
  const Category& c = categories()[static_cast<size_t>(variable / n)];
  return fmt::format(fmt::runtime(c.person), c.values[static_cast<size_t>(variable % n)]);
}

std::string told(const Clue& clue, int n) {
  std::string a = called(clue.a, n);
  a[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(a[0])));
  switch (clue.relation) {
    case Relation::kSame:
      return fmt::format("{} is {}.", a, called(clue.b, n));
    case Relation::kLeftOf:
      return fmt::format("{} lives directly left of {}.", a, called(clue.b, n));
    case Relation::kNextTo:
      return fmt::format("{} lives next to {}.", a, called(clue.b, n));
    case Relation::kNotSame:
      return fmt::format("{} is not {}.", a, called(clue.b, n));
    default:
      return fmt::format("{} lives in house {}.", a, clue.b + 1);
  }
}

std::vector<Clue> true_clues(Random& random, const std::vector<int>& house, int n) {
  std::vector<Clue> clues;
  for (int a = 0; a < static_cast<int>(house.size()); ++a) {
    if (random.chance(15)) clues.push_back({Relation::kAt, a, house[static_cast<size_t>(a)]});
    for (int b = 0; b < static_cast<int>(house.size()); ++b) {
      if (a / n == b / n) continue;
      const int step = house[static_cast<size_t>(b)] - house[static_cast<size_t>(a)];
      if (step == 0 && a < b) clues.push_back({Relation::kSame, a, b});
      if (step == 1) clues.push_back({random.chance(50) ? Relation::kLeftOf : Relation::kNextTo, a, b});
      if (step != 0 && a < b && random.chance(20)) clues.push_back({Relation::kNotSame, a, b});
    }
  }
  random.shuffle(clues);
  return clues;
}

Problem generate(Random& random, int difficulty) {
  const int n = difficulty <= 2 ? 3 : difficulty <= 5 ? 4 : difficulty <= 8 ? 5 : 6;
  static constexpr int kKinds[] = {2, 3, 3, 3, 4, 3, 4, 5, 4, 5};
  const int kinds = kKinds[difficulty - 1];
  std::vector<int> house;
  for (int k = 0; k < kinds; ++k) {
    std::vector<int> order;
    for (int i = 0; i < n; ++i) order.push_back(i);
    random.shuffle(order);
    house.insert(house.end(), order.begin(), order.end());
  }
  const Domains open(house.size(), range(0, n - 1));
  std::vector<Clue> pool, clues;
  do {  // all true clues nearly always fix the table
    pool = true_clues(random, house, n);
    clues = pool;
  } while (!search(open, narrow_of(clues, kinds, n), 2, 2000).unique());
  for (size_t i = clues.size(); i-- > 0;) {  // drop what is not needed
    const Clue dropped = clues[i];
    clues.erase(clues.begin() + static_cast<std::ptrdiff_t>(i));
    if (!search(open, narrow_of(clues, kinds, n), 2, 300).unique())
      clues.insert(clues.begin() + static_cast<std::ptrdiff_t>(i), dropped);
  }
  Problem p;
  p.size = n * kinds;
  Words table(static_cast<size_t>(n), std::vector<std::string>(static_cast<size_t>(kinds)));
  for (size_t i = 0; i < house.size(); ++i)
    table[static_cast<size_t>(house[i])][i / static_cast<size_t>(n)] =
        categories()[i / static_cast<size_t>(n)].values[i % static_cast<size_t>(n)];
  std::vector<std::string> columns, told_clues;
  p.prompt = fmt::format("{} houses stand in a row, numbered from 1 at the left. In each lives one person.\n", n);
  for (int k = 0; k < kinds; ++k) {
    const Category& c = categories()[static_cast<size_t>(k)];
    columns.emplace_back(c.name);
    p.prompt +=
        fmt::format("Each has another {}: {}.\n", c.name, fmt::join(c.values.begin(), c.values.begin() + n, ", "));
  }
  for (size_t i = 0; i < clues.size(); ++i) told_clues.push_back(fmt::format("{}. {}", i + 1, told(clues[i], n)));
  p.puzzle = {{"houses", n}, {"columns", columns}, {"clues", told_clues}};
  p.answer = grid_text(table);
  p.prompt += join(told_clues, "\n") + "\n" +
              answer_request(fmt::format("{} lines, for house 1 to {}, each with {} of its person, separated by blanks",
                                         n, n, join(columns, ", ")));
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const auto got = list_items(answer), want = list_items(q.gold);
  if (pieces(folded(answer)) == pieces(folded(q.gold))) return right();
  return got.size() == want.size() ? wrong("not the table") : unreadable(fmt::format("want {} lines", want.size()));
}

}  // namespace

const Task kZebraPuzzle{.id = 32,
                        .name = "zebra_puzzle",
                        .sentence = "who lives where and has what, from clues",
                        .size_means = "cells of the table",
                        .generate = generate,
                        .verify = verify};

}  // namespace fulmen::task
