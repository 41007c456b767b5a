// game_of_24: an arithmetic expression that uses each given number exactly once and only the allowed operators, and has
// the value asked for. Exact fractions; numbers may not be glued to longer ones; a leading minus is no operator to hide
// in.
#include <algorithm>

#include "shared/task/expression.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

// One random way to combine numbers: joins two until one is left. Empty where a division leaves the integers.
struct Term {
  Fraction value;
  std::string text;
};

std::string combine_all(Random& random, std::vector<Term> terms, const std::string& operators, Fraction& value) {
  while (terms.size() > 1) {
    random.shuffle(terms);
    const Term b = terms.back();
    terms.pop_back();
    const Term a = terms.back();
    terms.pop_back();
    const char op = operators[static_cast<size_t>(random.below(operators.size()))];
    const auto joined = apply(op, a.value, b.value);
    if (!joined || joined->under != 1) return "";
    const bool last = terms.empty();
    const std::string text = fmt::format("{}{}{}", a.text, op, b.text);
    terms.push_back({*joined, last ? text : fmt::format("({})", text)});
  }
  value = terms[0].value;
  return terms[0].text;
}

Problem generate(Random& random, int difficulty) {
  const int count = difficulty <= 2 ? 3 : difficulty <= 5 ? 4 : difficulty <= 8 ? 5 : 6;
  const int highest = 9 + (difficulty >= 4 ? difficulty : 0);
  const std::string operators = difficulty % 2 == 1 && difficulty > 2 ? "+-*" : "+-*/";
  for (;;) {
    std::vector<int> numbers;
    std::vector<Term> terms;
    for (int i = 0; i < count; ++i) {
      numbers.push_back(random.between(1, highest));
      terms.push_back({{numbers.back(), 1}, std::to_string(numbers.back())});
    }
    std::string solution;
    for (int attempt = 0; attempt < 400 && solution.empty(); ++attempt) {  // not every hand makes 24
      Fraction value;
      const std::string text = combine_all(random, terms, operators, value);
      if (!text.empty() && value == Fraction{24, 1}) solution = text;
    }
    if (solution.empty()) continue;
    std::sort(numbers.begin(), numbers.end());
    Problem p;
    p.size = count;
    p.puzzle = {{"numbers", numbers}, {"operators", operators}, {"target", 24}};
    p.answer = solution;
    p.prompt =
        fmt::format(
            "Write an arithmetic expression with the value 24 that uses each of the numbers {} exactly once. Allowed "
            "are the operators {} and parentheses.\n",
            fmt::join(numbers, ", "), operators) +
        answer_request("the expression alone");
    return p;
  }
}

Check verify(const Question& q, std::string_view answer) {
  auto numbers = int_list(q.puzzle, "numbers", 0, 999'999'999);
  const std::string operators = text_field(q.puzzle, "operators");
  const int target = int_field(q.puzzle, "target", -999'999'999, 999'999'999);
  if (answer.find('-') != std::string_view::npos && operators.find('-') == std::string::npos)
    return wrong("- is not allowed");
  const Parsed parsed = parse_expression(answer);
  if (!parsed.value) return unreadable(parsed.why);
  for (const char op : parsed.operators)
    if (operators.find(op) == std::string::npos) return wrong(fmt::format("{} is not allowed", op));
  if (!std::is_permutation(parsed.numbers.begin(), parsed.numbers.end(), numbers.begin(), numbers.end()))
    return wrong("not the given numbers, each once");
  return *parsed.value == Fraction{target, 1} ? right() : wrong("its value is " + text_of(*parsed.value));
}

}  // namespace

const Task kGameOf24{.id = 15,
                     .name = "game_of_24",
                     .sentence = "an expression of given numbers with the value 24",
                     .size_means = "numbers",
                     .generate = generate,
                     .verify = verify};

}  // namespace fulmen::task
