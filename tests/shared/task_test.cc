#include "shared/task/task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "shared/base/file.h"
#include "shared/task/answer.h"
#include "shared/task/domains.h"
#include "shared/task/records.h"

namespace fulmen::task {
namespace {

Problem problem(const Task& t, int difficulty, int64_t index, bool held_out = false) {
  return make_problem(t, {11, held_out, index, difficulty, difficulty});
}

Check check_of(const Task& t, const Problem& p, const std::string& answer) {
  return check_response(t, {p.puzzle, p.answer}, completion_of(t, answer));
}

bool is_right(const Task& t, const Problem& p, const std::string& answer) {
  return check_of(t, p, answer).finding == Finding::kRight;
}

class EveryTask : public ::testing::TestWithParam<const Task*> {};

TEST_P(EveryTask, GoldIsAcceptedAndAnswersOfOthersAreNot) {
  const Task& t = *GetParam();
  for (int difficulty = 1; difficulty <= kMaxDifficulty; ++difficulty) {
    Problem before;
    for (int64_t i = 0; i < 25; ++i) {
      const Problem p = problem(t, difficulty, i);
      const Check c = check_response(t, {p.puzzle, p.answer}, "<think>so</think> " + p.worked);
      ASSERT_EQ(c.finding, Finding::kRight) << t.name << " " << difficulty << "/" << i << ": " << c.why;
      ASSERT_TRUE(p.puzzle.is_object() && p.difficulty == difficulty && p.size > 0);
      if (i > 0 && before.answer != p.answer && before.prompt != p.prompt) {
        EXPECT_FALSE(is_right(t, p, before.answer)) << t.name << "\n" << p.prompt << "\n" << before.answer;
      }
      before = p;
    }
  }
}

// A model that always says the commonest answer of a kind learns nothing of it.
TEST_P(EveryTask, NoAnswerIsWorthGuessing) {
  const Task& t = *GetParam();
  constexpr int kDraws = 60;
  for (int difficulty = 1; difficulty <= kMaxDifficulty; ++difficulty) {
    std::map<std::string, int> answers;
    for (int64_t i = 0; i < kDraws; ++i) answers[problem(t, difficulty, i).answer]++;
    const auto commonest =
        std::max_element(answers.begin(), answers.end(), [](auto& a, auto& b) { return a.second < b.second; });
    EXPECT_LE(commonest->second, kDraws * 4 / 10) << t.name << " at " << difficulty << ": " << commonest->first;
  }
}

// Value of an equation's left side without parentheses, written again from the rules.
int64_t left_side(const std::string& equation) {
  int64_t sum = 0, term = 0, sign = 1;
  char op = ' ';
  for (const char c : equation) {
    if (c == '=') break;
    if (c >= '0' && c <= '9') {
      const int64_t v = c - '0';
      if ((op == '%' || op == '/') && v == 0) return 1 << 20;
      term = op == '*' ? term * v : op == '%' ? term % v : v;
    } else if (c == '+' || c == '-') {
      sum += sign * term, sign = c == '+' ? 1 : -1, op = ' ';
    } else if (c != ' ') {
      op = c;
    }
  }
  return sum + sign * term;
}

// One token becomes another one of the same answer, or one letter or digit another; nothing else changes.
std::string mutated(Random& random, const std::string& answer) {
  std::vector<std::pair<size_t, std::string>> tokens;
  for (size_t i = 0; i < answer.size();) {
    const size_t begin = answer.find_first_not_of(" \n", i);
    if (begin == std::string::npos) break;
    const size_t end = std::min(answer.find_first_of(" \n", begin), answer.size());
    tokens.emplace_back(begin, answer.substr(begin, end - begin));
    i = end;
  }
  for (int tries = 0; tries < 40; ++tries) {
    if (tokens.size() > 3 && random.chance(60)) {
      const auto [at, old] = random.pick(tokens);
      const std::string other = random.pick(tokens).second;
      if (other != old) return answer.substr(0, at) + other + answer.substr(at + old.size());
    } else {
      std::string s = answer;
      char& c = s[static_cast<size_t>(random.below(s.size()))];
      const char old = c;
      if (c >= '0' && c <= '9') c = static_cast<char>('0' + random.below(10));
      if (c >= 'a' && c <= 'z') c = static_cast<char>('a' + random.below(26));
      if (c >= 'A' && c <= 'Z') c = static_cast<char>('A' + random.below(26));
      if (c != old && (c | 32) != (old | 32)) return s;
      c = old;
      if (std::string("()[]{}<>#.").find(c) != std::string::npos && random.chance(30)) return s.erase(s.find(c), 1);
    }
  }
  return answer + " 1";
}

TEST_P(EveryTask, MutatedAnswersAreRejected) {
  const Task& t = *GetParam();
  Random random(base::Stream(5, base::Purpose::kTest));
  for (int difficulty = 1; difficulty <= kMaxDifficulty; difficulty += 3) {
    for (int64_t i = 0; i < 40; ++i) {
      const Problem p = problem(t, difficulty, i);
      const std::string wrong_answer = mutated(random, p.answer);
      if (std::string(t.name) == "math_path") {  // other digits may be right: exactly when the equation is true
        const int64_t want = std::stoll(p.answer.substr(p.answer.find('=') + 1));
        if (is_right(t, p, wrong_answer)) {
          EXPECT_EQ(left_side(wrong_answer), want) << wrong_answer;
        }
        continue;
      }
      if (std::string(t.name) == "game_of_24" && wrong_answer.size() < p.answer.size()) continue;  // parentheses may go
      if (pieces(wrong_answer) == pieces(p.answer)) continue;  // the same with another bracket or comma
      EXPECT_FALSE(is_right(t, p, wrong_answer)) << t.name << "\n" << p.answer << "\nbecame\n" << wrong_answer;
    }
  }
}

TEST_P(EveryTask, EmptyHedgedAndTruncatedAnswersAreNoAnswers) {
  const Task& t = *GetParam();
  const Problem p = problem(t, 3, 1), q = problem(t, 3, 2);
  const auto finding = [&](const std::string& response) {
    return check_response(t, {p.puzzle, p.answer}, response).finding;
  };
  EXPECT_EQ(finding(""), Finding::kUnreadable);
  EXPECT_EQ(finding(p.answer), Finding::kUnreadable) << "an answer outside the form";
  EXPECT_EQ(finding("<think>" + p.worked), Finding::kUnreadable);
  EXPECT_EQ(finding("<think>" + p.worked + "</think> I do not know"), Finding::kUnreadable);
  if (p.answer != q.answer) {
    EXPECT_EQ(finding(completion_of(t, p.answer) + "\nor\n" + completion_of(t, q.answer)), Finding::kUnreadable);
  }
  EXPECT_EQ(finding(completion_of(t, p.answer) + "\nagain\n" + completion_of(t, p.answer)), Finding::kRight);
  EXPECT_NE(finding(completion_of(t, std::string(40000, '1'))), Finding::kRight);
}

TEST_P(EveryTask, DifficultyMovesTheSize) {
  const Task& t = *GetParam();
  std::vector<double> means;
  for (int difficulty = 1; difficulty <= kMaxDifficulty; ++difficulty) {
    double sum = 0;
    for (int64_t i = 0; i < 30; ++i) sum += problem(t, difficulty, 100 + i).size;
    means.push_back(sum / 30);
  }
  for (size_t i = 3; i < means.size(); ++i)  // over three steps, as means of a few draws wobble
    EXPECT_GT(means[i], means[i - 3] * 0.98) << t.name << " at difficulty " << i + 1;
  EXPECT_GT(means.back(), 1.6 * means.front()) << t.name;
}

TEST_P(EveryTask, IsAFunctionOfItsKeyAndSplitsAreDisjoint) {
  const Task& t = *GetParam();
  std::set<std::string> train;
  for (int64_t i = 0; i < 60; ++i) train.insert(problem(t, 2, i).prompt);
  EXPECT_GT(train.size(), 20u) << "problems repeat";
  for (int64_t i = 0; i < 15; ++i) EXPECT_EQ(train.count(problem(t, 2, i, true).prompt), 0u);
  EXPECT_EQ(problem(t, 4, 9).prompt, problem(t, 4, 9).prompt);
  EXPECT_NE(problem(t, 4, 9).prompt, problem(t, 4, 10).prompt);
  std::set<int> drawn;
  for (int64_t i = 0; i < 60; ++i) drawn.insert(make_problem(t, {3, false, i, 2, 5}).difficulty);
  EXPECT_EQ(drawn, (std::set<int>{2, 3, 4, 5}));
}

INSTANTIATE_TEST_SUITE_P(Tasks, EveryTask, ::testing::ValuesIn(all_tasks()),
                         [](const auto& one) { return std::string(one.param->name); });

// Every candidate that the verifier takes; the puzzle promises one.
template <class Candidates>
int accepted(const Task& t, const Problem& p, const Candidates& candidates) {
  int n = 0;
  for (const std::string& answer : candidates) n += is_right(t, p, answer);
  return n;
}

std::vector<std::string> latin_squares(int n) {
  std::vector<std::string> out;
  const auto groups = rows_and_columns(n);
  Numbers square;
  std::vector<int> row;
  for (int v = 1; v <= n; ++v) row.push_back(v);
  const auto extend = [&](auto&& self) -> void {
    if (static_cast<int>(square.size()) == n) {
      out.push_back(grid_text(square));
      return;
    }
    std::vector<int> next = row;
    do {
      const bool clashes = std::any_of(square.begin(), square.end(), [&](const auto& other) {
        for (size_t c = 0; c < next.size(); ++c)
          if (other[c] == next[c]) return true;
        return false;
      });
      if (clashes) continue;
      square.push_back(next);
      self(self);
      square.pop_back();
    } while (std::next_permutation(next.begin(), next.end()));
  };
  extend(extend);
  return out;
}

TEST(OneSolution, AmongAllLatinSquares) {
  const auto threes = latin_squares(3), fours = latin_squares(4);
  ASSERT_EQ(threes.size(), 12u);
  ASSERT_EQ(fours.size(), 576u);
  for (int64_t i = 0; i < 8; ++i) {
    for (const char* name : {"sudoku", "futoshiki", "skyscraper_puzzle"}) {
      const Task& t = find_task(name);
      EXPECT_EQ(accepted(t, problem(t, 2, i), fours), 1) << name;
    }
    const Task& t = find_task("calcudoko");
    EXPECT_EQ(accepted(t, problem(t, 2, i), threes), 1);
    EXPECT_EQ(accepted(t, problem(t, 5, i), fours), 1);
  }
}

TEST(OneSolution, AmongAllMarkings) {
  const Task& t = find_task("kukurasu");
  int unique = 0;
  for (int64_t i = 0; i < 4; ++i) {
    const Problem p = problem(t, 1, i);
    int n = 0;
    for (unsigned bits = 0; bits < 1u << 16; ++bits) {
      std::string answer;
      for (unsigned c = 0; c < 16; ++c) answer += std::string(bits >> c & 1 ? "1" : ".") + (c % 4 == 3 ? "\n" : " ");
      n += t.verify({p.puzzle, p.answer}, answer).finding == Finding::kRight;
    }
    unique += n == 1;
    EXPECT_GE(n, 1);
  }
  EXPECT_GE(unique, 3);
}

TEST(OneSolution, AmongAllStarsOfRowsAndColumns) {
  const Task& t = find_task("star_placement_puzzle");
  int unique = 0;
  for (int64_t i = 0; i < 6; ++i) {
    const Problem p = problem(t, 4, i);
    std::vector<int> columns{1, 2, 3, 4, 5, 6};
    int n = 0;
    do {
      std::string answer;
      for (size_t r = 0; r < columns.size(); ++r)
        answer += "(" + std::to_string(r + 1) + "," + std::to_string(columns[r]) + ") ";
      n += is_right(t, p, answer);
    } while (std::next_permutation(columns.begin(), columns.end()));
    unique += n == 1;
    EXPECT_GE(n, 1);
  }
  EXPECT_GE(unique, 5);
}

TEST(Tasks, HaveNamesAndIdsOfTheirOwn) {
  std::set<std::string> names;
  std::set<uint32_t> ids;
  for (const Task* t : all_tasks()) {
    EXPECT_TRUE(names.insert(t->name).second);
    EXPECT_TRUE(ids.insert(t->id).second);
    EXPECT_EQ(task_of_source(data_source_of(*t)), t);
  }
  EXPECT_EQ(all_tasks().size(), 35u);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(task_of_source("logic/nothing"), nullptr);
  try {
    find_task("sudko");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean sudoku?"), std::string::npos);
  }
  EXPECT_THROW(make_problem(find_task("sudoku"), {1, false, 0, 3, 11}), Error);
}

// The bytes of every kind on this and any other machine. A change here changes every run that trains on the kind.
TEST(Tasks, ProblemsAreTheSameBytesEverywhere) {
  std::string digests;
  for (const Task* t : all_tasks()) {
    std::string text;
    for (const int difficulty : {1, 4, 7, 10})
      for (int64_t i = 0; i < 3; ++i) {
        const Draw draw{7, false, i, difficulty, difficulty};
        text += to_record(*t, draw, make_problem(*t, draw)).dump();
      }
    digests += std::string(t->name) + " " + base::hex(base::digest128(text.data(), text.size())).substr(0, 16) + "\n";
  }
  EXPECT_EQ(digests, base::read_file(std::string(FULMEN_SOURCE_DIR) + "/tests/golden/task_digests.txt"));
}

}  // namespace
}  // namespace fulmen::task
