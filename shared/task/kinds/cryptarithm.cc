// cryptarithm: every letter stands for a digit, different letters for different ones, no number of several digits
// begins with 0, and the sum or difference is true. Any such digits are right.
#include <algorithm>
#include <map>
#include <set>

#include "shared/task/expression.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

Problem generate(Random& random, int difficulty) {
  const int letters = 3 + (difficulty + 1) * 6 / 11;  // 4..9 different digits
  const int longest = 3 + difficulty / 3;
  const int terms = difficulty >= 7 ? 3 : 2;
  for (;;) {
    const bool minus = terms == 2 && random.chance(40);
    std::vector<int64_t> numbers;
    int64_t sum = 0, low = 1;
    for (int i = 2; i < longest; ++i) low *= 10;
    for (int i = 0; i < terms; ++i) {
      numbers.push_back(random.between(static_cast<int>(low), static_cast<int>(low * 100 - 1)));
      sum += numbers.back();
    }
    numbers.push_back(sum);
    if (minus) std::swap(numbers[0], numbers[2]);  // a + b = c as c - b = a
    std::string equation;
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (i > 0) equation += i + 1 == numbers.size() ? " = " : minus ? " - " : " + ";
      equation += std::to_string(numbers[i]);
    }
    std::set<char> digits;
    for (const char c : equation)
      if (c >= '0' && c <= '9') digits.insert(c);
    if (static_cast<int>(digits.size()) != letters) continue;
    std::vector<char> names;
    for (char c = 'A'; c <= 'Z'; ++c) names.push_back(c);
    random.shuffle(names);
    std::map<char, char> name;
    for (const char d : digits) name.emplace(d, names[name.size()]);
    std::string puzzle = equation;
    for (char& c : puzzle)
      if (name.count(c)) c = name[c];
    Problem p;
    p.size = letters;
    p.puzzle = {{"equation", puzzle}};
    p.answer = equation;
    p.prompt =
        fmt::format(
            "Every letter stands for a digit, different letters for different digits, and no number begins with 0. "
            "Find digits that make this true: {}\n",
            puzzle) +
        answer_request("the equation with digits in place of the letters");
    return p;
  }
}

Check verify(const Question& q, std::string_view answer) {
  const std::string puzzle = without_blanks(text_field(q.puzzle, "equation")), got = without_blanks(answer);
  if (puzzle.size() != got.size()) return wrong("not the equation with one digit for each letter");
  std::map<char, char> digit_of, letter_of;
  for (size_t i = 0; i < puzzle.size(); ++i) {
    if (puzzle[i] < 'A' || puzzle[i] > 'Z') {
      if (got[i] != puzzle[i]) return wrong("not the equation with one digit for each letter");
      continue;
    }
    if (got[i] < '0' || got[i] > '9') return wrong("a letter is not replaced by a digit");
    if (digit_of.emplace(puzzle[i], got[i]).first->second != got[i]) return wrong("a letter stands for two digits");
    if (letter_of.emplace(got[i], puzzle[i]).first->second != puzzle[i])
      return wrong("two letters stand for one digit");
    const auto is_letter = [&](size_t k) { return k < puzzle.size() && puzzle[k] >= 'A' && puzzle[k] <= 'Z'; };
    if (got[i] == '0' && !(i > 0 && is_letter(i - 1)) && is_letter(i + 1)) return wrong("a number begins with 0");
  }
  const size_t equals = got.find('=');
  if (equals == std::string::npos) throw Error("puzzle: equation: want a sign =");
  const auto left = parse_expression(got.substr(0, equals)).value,
             right_side = parse_expression(got.substr(equals + 1)).value;
  if (!left || !right_side) throw Error("puzzle: equation: want sums of words of at most 9 letters");
  return *left == *right_side ? right() : wrong("the equation is not true");
}

}  // namespace

const Task kCryptarithm{.id = 16,
                        .name = "cryptarithm",
                        .sentence = "digits for letters that make a sum true",
                        .size_means = "letters",
                        .generate = generate,
                        .verify = verify};

}  // namespace fulmen::task
