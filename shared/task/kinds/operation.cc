// operation: new operators are defined by formulas, one with a case; compute an expression. Exact: a value that is not
// whole is a fraction.
#include "shared/task/expression.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

struct Formula {
  const char* text;
  std::optional<Fraction> (*value)(const Fraction&, const Fraction&);
};

std::optional<Fraction> linear(const Fraction& a, const Fraction& b, int64_t fa, int64_t fb, int64_t plus) {
  const auto x = apply('*', a, {fa, 1}), y = apply('*', b, {fb, 1});
  const auto sum = x && y ? apply('+', *x, *y) : std::nullopt;
  return sum ? apply('+', *sum, {plus, 1}) : std::nullopt;
}

const std::vector<Formula>& formulas() {
  static const std::vector<Formula> all{
      {"2*a + b", [](const Fraction& a, const Fraction& b) { return linear(a, b, 2, 1, 0); }},
      {"a - 3*b", [](const Fraction& a, const Fraction& b) { return linear(a, b, 1, -3, 0); }},
      {"a + b + 1", [](const Fraction& a, const Fraction& b) { return linear(a, b, 1, 1, 1); }},
      {"3*b - a", [](const Fraction& a, const Fraction& b) { return linear(a, b, -1, 3, 0); }},
      {"4*a - 2*b", [](const Fraction& a, const Fraction& b) { return linear(a, b, 4, -2, 0); }},
      {"a * b", [](const Fraction& a, const Fraction& b) { return apply('*', a, b); }},
      {"a*b - a",
       [](const Fraction& a, const Fraction& b) -> std::optional<Fraction> {
         const auto product = apply('*', a, b);
         return product ? apply('-', *product, a) : std::nullopt;
       }},
      {"a / b", [](const Fraction& a, const Fraction& b) { return apply('/', a, b); }},
  };
  return all;
}

struct Operator {
  std::string sign;
  size_t otherwise = 0, when_less = 0;  // formulas
  bool has_case = false;                // when a < b, the other formula
};

struct Node {
  std::string text;
  Fraction value;
};

std::optional<Node> grow(Random& random, const std::vector<Operator>& operators, int leaves) {
  if (leaves == 1) {
    const int v = random.between(1, 9);
    return Node{std::to_string(v), {v, 1}};
  }
  const int left = random.between(1, leaves - 1);
  const auto a = grow(random, operators, left);
  const auto b = grow(random, operators, leaves - left);
  const Operator& op = random.pick(operators);
  if (!a || !b) return std::nullopt;
  const bool less =
      static_cast<__int128>(a->value.over) * b->value.under < static_cast<__int128>(b->value.over) * a->value.under;
  const auto value = formulas()[op.has_case && less ? op.when_less : op.otherwise].value(a->value, b->value);
  if (!value || value->over > 1'000'000 || value->over < -1'000'000 || value->under > 1000) return std::nullopt;
  return Node{fmt::format("({} {} {})", a->text, op.sign, b->text), *value};
}

Problem generate(Random& random, int difficulty) {
  const int leaves = 2 + difficulty * 2 / 3 + (difficulty >= 2 ? 1 : 0);
  const size_t count = difficulty <= 2 ? 1 : difficulty <= 6 ? 2 : 3;
  const size_t known = difficulty <= 2 ? 6 : formulas().size();  // no fractions at first
  std::vector<Operator> operators;
  std::string rules;
  for (size_t i = 0; i < count; ++i) {
    Operator op;
    op.sign = std::string(1, "@#&"[i]);
    op.otherwise = static_cast<size_t>(random.below(known));
    op.when_less = static_cast<size_t>(random.below(known));
    op.has_case = difficulty >= 4 && op.when_less != op.otherwise && random.chance(60);
    rules += op.has_case ? fmt::format("a {} b = {} when a < b, and {} otherwise\n", op.sign,
                                       formulas()[op.when_less].text, formulas()[op.otherwise].text)
                         : fmt::format("a {} b = {}\n", op.sign, formulas()[op.otherwise].text);
    operators.push_back(op);
  }
  std::optional<Node> root;
  while (!root) root = grow(random, operators, leaves);
  Problem p;
  p.size = leaves - 1;
  const std::string expression = root->text.substr(1, root->text.size() - 2);
  p.puzzle = {{"rules", rules}, {"expression", expression}};
  p.answer = text_of(root->value);
  p.prompt = fmt::format("New operators are defined:\n{}Compute {}\n", rules, expression) +
             answer_request("an integer, or a fraction such as -3/4");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const auto want = read_fraction(q.gold), got = read_fraction(answer);
  if (!want) throw Error("puzzle: the ground truth is not a number");
  if (!got) return unreadable("want an integer, a fraction or a decimal");
  return *got == *want ? right() : wrong("not the value");
}

}  // namespace

const Task kOperation{.id = 27,
                      .name = "operation",
                      .sentence = "expressions of newly defined operators",
                      .size_means = "operations",
                      .generate = generate,
                      .verify = verify};

}  // namespace fulmen::task
