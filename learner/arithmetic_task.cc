#include "learner/arithmetic_task.h"

#include <vector>

#include "shared/base/file.h"
#include "shared/base/rng.h"

namespace fulmen::learner {
namespace {

struct Expression {
  std::vector<int64_t> value;
  std::vector<char> op;  // op[i] stands between value[i] and value[i+1]
};

Expression draw(base::Stream& rng, int operations, int operand_max) {
  Expression e;
  e.value.push_back(rng.next_int(1, operand_max));
  for (int i = 0; i < operations; ++i) {
    const char op = "++-*"[rng.next_int(0, 3)];
    const bool after_product = !e.op.empty() && e.op.back() == '*';
    if (op == '*' && !after_product) {  // products of a one-digit and a two-digit number at most
      e.value.back() = rng.next_int(2, operand_max);
      e.op.push_back('*');
      e.value.push_back(rng.next_int(2, operand_max));
    } else {
      e.op.push_back(op == '*' ? '+' : op);
      e.value.push_back(rng.next_int(1, operand_max));
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
ArithmeticProblem solve(Expression e) {
  ArithmeticProblem p;
  p.operations = static_cast<int>(e.op.size());
  p.prompt = text_of(e) + "=";
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
  return p;
}

}  // namespace

ArithmeticProblem make_arithmetic(uint64_t seed, bool held_out, int64_t index, int min_operations, int max_operations,
                                  int operand_max) {
  base::Stream rng(seed, base::Purpose::kTask, static_cast<uint64_t>(index), held_out ? 1 : 0);
  const int operations = static_cast<int>(rng.next_int(min_operations, max_operations));
  for (;;) {
    const Expression e = draw(rng, operations, operand_max);
    const std::string text = text_of(e);
    if ((base::digest64(text.data(), text.size()) % 8 == 0) == held_out) return solve(e);
  }
}

}  // namespace fulmen::learner
