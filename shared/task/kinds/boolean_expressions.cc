// boolean_expressions: which of several expressions of comparisons, True, False, not, and, or are true. not binds
// closest, then and, then or.
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

struct Written {
  std::string text;
  bool value = false;
};

Written comparison(Random& random) {
  const int a = random.between(-9, 9), b = random.between(-9, 9), c = random.between(-40, 40);
  const int op = random.below(3), relation = random.below(4);
  const int left = op == 0 ? a + b : op == 1 ? a - b : a * b;
  const bool value = relation == 0 ? left < c : relation == 1 ? left > c : relation == 2 ? left <= c : left != c;
  static constexpr const char* kRelations[] = {"<", ">", "<=", "!="};
  return {fmt::format("{} {} {} {} {}", a, "+-*"[op], b < 0 ? fmt::format("({})", b) : std::to_string(b),
                      kRelations[relation], c),
          value};
}

Written leaf(Random& random, bool plain) {
  if (!plain && random.chance(60)) return comparison(random);
  const bool value = random.chance(50);
  return {value ? "True" : "False", value};
}

Written grow(Random& random, int leaves, bool plain) {
  if (leaves == 1) {
    Written w = leaf(random, plain);
    return random.chance(30) ? Written{fmt::format("not ({})", w.text), !w.value} : w;
  }
  const int left_leaves = random.between(1, leaves - 1);
  const Written a = grow(random, left_leaves, plain), b = grow(random, leaves - left_leaves, plain);
  const bool is_and = random.chance(50), negate = random.chance(25);
  const bool value = is_and ? a.value && b.value : a.value || b.value;
  const std::string text = fmt::format("({}) {} ({})", a.text, is_and ? "and" : "or", b.text);
  return negate ? Written{fmt::format("not ({})", text), !value} : Written{text, value};
}

Problem generate(Random& random, int difficulty) {
  const int options = difficulty <= 3 ? 3 : difficulty <= 7 ? 4 : 5, leaves = 1 + difficulty;
  Problem p;
  std::vector<std::string> lines, letters;
  for (int i = 0; i < options; ++i) {
    const Written w = grow(random, leaves, difficulty == 1);
    const std::string letter(1, static_cast<char>('A' + i));
    lines.push_back(fmt::format("{}. {}", letter, w.text));
    if (w.value) letters.push_back(letter);
  }
  p.size = options * leaves;
  p.puzzle = {{"options", lines}};
  p.answer = letters.empty() ? "none" : join(letters, ", ");
  p.prompt = fmt::format("Which of these expressions are true?\n\n{}\n", join(lines, "\n")) +
             answer_request("the letters of all true ones separated by commas, or none");
  return p;
}

}  // namespace

const Task kBooleanExpressions{.id = 23,
                               .name = "boolean_expressions",
                               .sentence = "which of several logical expressions are true",
                               .size_means = "comparisons and constants",
                               .generate = generate,
                               .verify = check_set};

}  // namespace fulmen::task
