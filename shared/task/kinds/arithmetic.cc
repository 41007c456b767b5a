// arithmetic: the quickstart's task. Integer arithmetic in several steps, with worked steps and a GSM8K-style answer:
//
//   "12+7*3-5="   ->   "7*3=21;12+21=33;33-5=28;#### 28"
//
// Difficulty is the number of operations. Operands are 1..5 (factors 2..5). Its answer stands behind #### and not
// between tags: the smallest models learn that first.
#include <vector>

#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

constexpr int kOperandMax = 5;

struct Expression {
  std::vector<int64_t> value;
  std::vector<char> op;  // op[i] stands between value[i] and value[i+1]
};

Expression draw(Random& random, int operations) {
  Expression e;
  e.value.push_back(random.between(1, kOperandMax));
  for (int i = 0; i < operations; ++i) {
    const char op = "++-*"[random.below(4)];
    const bool after_product = !e.op.empty() && e.op.back() == '*';
    if (op == '*' && !after_product) {  // products of a one-digit and a two-digit number at most
      e.value.back() = random.between(2, kOperandMax);
      e.op.push_back('*');
      e.value.push_back(random.between(2, kOperandMax));
    } else {
      e.op.push_back(op == '*' ? '+' : op);
      e.value.push_back(random.between(1, kOperandMax));
    }
  }
  return e;
}

std::string text_of(const Expression& e) {
  std::string s = std::to_string(e.value[0]);
  for (size_t i = 0; i < e.op.size(); ++i) s += e.op[i] + std::to_string(e.value[i + 1]);
  return s;
}

// Reduces one operation at a time, products first, left to right, writing "a*b=c;" for each.
Problem solve(Expression e) {
  Problem p;
  p.size = static_cast<int>(e.op.size());
  p.identity = text_of(e);
  p.prompt = p.identity + "=";
  while (!e.op.empty()) {
    size_t i = 0;
    for (size_t k = 0; k < e.op.size(); ++k)
      if (e.op[k] == '*') {
        i = k;
        break;
      }
    const int64_t a = e.value[i], b = e.value[i + 1];
    const int64_t c = e.op[i] == '*' ? a * b : e.op[i] == '+' ? a + b : a - b;
    p.worked += std::to_string(a) + e.op[i] + std::to_string(b) + "=" + std::to_string(c) + ";";
    e.value[i] = c;
    e.value.erase(e.value.begin() + static_cast<int64_t>(i) + 1);
    e.op.erase(e.op.begin() + static_cast<int64_t>(i));
  }
  p.answer = std::to_string(e.value[0]);
  p.worked += "#### " + p.answer;
  p.puzzle = {{"operations", p.size}};
  return p;
}

Problem generate(Random& random, int difficulty) { return solve(draw(random, difficulty)); }

}  // namespace

const Task kArithmetic{.id = 0,
                       .name = "arithmetic",
                       .sentence = "integer arithmetic in several steps, the quickstart's task",
                       .size_means = "operations",
                       .generate = generate,
                       .verify = check_integer,
                       .answers_after_hashes = true};

}  // namespace fulmen::task
