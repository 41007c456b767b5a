// math_path: replace every ? of an equation by a digit so that it is true. * and % (remainder) come before + and -,
// from left to right. Any digits that make it true are right.
#include "shared/task/expression.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

Problem generate(Random& random, int difficulty) {
  const int numbers = 3 + difficulty / 2;
  for (;;) {
    std::string expression = std::to_string(random.between(0, 9));
    for (int i = 1; i < numbers; ++i) {
      expression += "++--**%"[random.below(7)];
      expression += std::to_string(random.between(0, 9));
    }
    const auto value = parse_expression(expression).value;
    if (!value) continue;  // a remainder by 0
    std::string query = expression;
    int hidden = 0;
    for (char& c : query)
      if (c >= '0' && c <= '9' && random.chance(30 + 5 * difficulty)) c = '?', ++hidden;
    if (hidden == 0) continue;
    Problem p;
    p.size = hidden;
    const std::string equation = query + " = " + text_of(*value);
    p.puzzle = {{"equation", equation}};
    p.answer = expression + " = " + text_of(*value);
    p.prompt =
        fmt::format(
            "Replace every ? by a digit from 0 to 9 so that the equation is true: {}\n* and % (the remainder of a "
            "division) are computed before + and -, from left to right.\n",
            equation) +
        answer_request("the whole equation with its digits");
    return p;
  }
}

Check verify(const Question& q, std::string_view answer) {
  const std::string want = without_blanks(text_field(q.puzzle, "equation")), got = without_blanks(answer);
  if (want.size() != got.size()) return wrong("not the equation with one digit for each ?");
  for (size_t i = 0; i < want.size(); ++i)
    if (want[i] == '?' ? got[i] < '0' || got[i] > '9' : want[i] != got[i])
      return wrong("not the equation with one digit for each ?");
  const size_t equals = got.find('=');
  if (equals == std::string::npos) throw Error("puzzle: equation: want a sign =");
  const Parsed left = parse_expression(got.substr(0, equals)), right_side = parse_expression(got.substr(equals + 1));
  if (!right_side.value) throw Error("puzzle: equation: want a number behind =");
  if (!left.value) return wrong(left.why);
  return *left.value == *right_side.value ? right() : wrong("the left side is " + text_of(*left.value));
}

}  // namespace

const Task kMathPath{.id = 14,
                     .name = "math_path",
                     .sentence = "digits that make an equation true",
                     .size_means = "digits to find",
                     .generate = generate,
                     .verify = verify};

}  // namespace fulmen::task
