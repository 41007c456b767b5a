// dyck_language_reasoning_errors: a protocol of reading brackets, one thought for each with the stack after it. Some
// stacks are wrong; each thought is judged by the true stack, not by the one of the thought before.
#include <set>

#include "shared/task/kinds/brackets.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

std::string shown(const std::string& stack) { return stack.empty() ? "empty" : stack; }

std::string damaged(Random& random, const std::string& stack, int types) {
  for (;;) {
    std::string s = stack;
    const char bracket = kOpening[random.below(static_cast<size_t>(types))];
    const int way = random.below(3);
    if (way == 0) s += bracket;
    if (way == 1 && !s.empty()) s.pop_back();
    if (way == 2 && !s.empty()) s[static_cast<size_t>(random.below(s.size()))] = bracket;
    if (s != stack) return s;
  }
}

Problem generate(Random& random, int difficulty) {
  const int pairs = 2 + 2 * difficulty, types = difficulty <= 3 ? 2 : difficulty <= 6 ? 3 : 4;
  const std::string sequence = balanced(random, pairs, types);
  std::vector<int> places;
  for (int i = 0; i < 2 * pairs; ++i) places.push_back(i);
  const int errors = random.chance(12) ? 0 : random.between(1, 1 + difficulty / 2);
  std::set<int> wrong_places;
  for (const int i : random.sample(places, static_cast<size_t>(errors))) wrong_places.insert(i);
  std::string stack, protocol;
  std::vector<std::string> mistakes;
  for (int i = 0; i < 2 * pairs; ++i) {
    const char c = sequence[static_cast<size_t>(i)];
    if (is_opening(c))
      stack += c;
    else
      stack.pop_back();
    const bool is_wrong = wrong_places.count(i) != 0;
    if (is_wrong) mistakes.push_back(std::to_string(i + 1));
    protocol +=
        fmt::format("Thought {}: {} ; stack: {}\n", i + 1, c, shown(is_wrong ? damaged(random, stack, types) : stack));
  }
  Problem p;
  p.size = 2 * pairs;
  p.puzzle = {{"sequence", sequence}};
  p.answer = mistakes.empty() ? "none" : join(mistakes, ", ");
  p.prompt =
      fmt::format(
          "Someone read the brackets {} one by one and wrote down the stack of open brackets after each. Some "
          "thoughts hold a wrong stack. Judge each by what the stack truly is at that point, whatever the thought "
          "before says.\n\n{}",
          sequence, protocol) +
      answer_request("the numbers of the wrong thoughts separated by commas, or none");
  return p;
}

}  // namespace

const Task kDyckLanguageReasoningErrors{.id = 19,
                                        .name = "dyck_language_reasoning_errors",
                                        .sentence = "wrong steps in a protocol of reading brackets",
                                        .size_means = "thoughts",
                                        .generate = generate,
                                        .verify = check_set};

}  // namespace fulmen::task
