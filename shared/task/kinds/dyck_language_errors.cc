// dyck_language_errors: the place (from 1) of the first bracket that does not fit; one behind the end when brackets
// stay open; -1 for a good sequence.
#include "shared/task/kinds/brackets.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

int first_error(const std::string& sequence) {
  std::string open;
  for (size_t i = 0; i < sequence.size(); ++i) {
    if (is_opening(sequence[i])) {
      open += sequence[i];
    } else {
      if (open.empty() || closing_of(open.back()) != sequence[i]) return static_cast<int>(i) + 1;
      open.pop_back();
    }
  }
  return open.empty() ? -1 : static_cast<int>(sequence.size()) + 1;
}

Problem generate(Random& random, int difficulty) {
  const int pairs = 3 + 3 * difficulty, types = difficulty <= 2 ? 2 : difficulty <= 5 ? 3 : 4;
  std::string sequence = balanced(random, pairs, types);
  if (!random.chance(8)) {
    for (int errors = random.between(1, 2); errors > 0; --errors) {
      const size_t at = static_cast<size_t>(random.below(sequence.size()));
      const std::string brackets =
          std::string(kOpening, static_cast<size_t>(types)) + std::string(kClosing, static_cast<size_t>(types));
      const char before = sequence[at];
      while (sequence[at] == before) sequence[at] = brackets[static_cast<size_t>(random.below(brackets.size()))];
    }
  }
  const int error = first_error(sequence);
  Problem p;
  p.size = error == -1 || error > 2 * pairs ? 2 * pairs : error;
  p.puzzle = {{"sequence", sequence}};
  p.answer = std::to_string(error);
  p.prompt =
      fmt::format(
          "Find the first error in this sequence of brackets: {}\nAn error is a closing bracket that does not close "
          "the last open one. If there is none but brackets stay open, the error is one place behind the end.\n",
          sequence) +
      answer_request("the place of the error, counted from 1, or -1 when the sequence is good");
  return p;
}

Check verify(const Question& q, std::string_view answer) {
  const auto got = integer(trimmed(answer));
  if (!got) return unreadable("want an integer");
  return *got == first_error(text_field(q.puzzle, "sequence")) ? right() : wrong("not the place of the first error");
}

}  // namespace

const Task kDyckLanguageErrors{.id = 18,
                               .name = "dyck_language_errors",
                               .sentence = "the first bracket that does not fit",
                               .size_means = "brackets to read",
                               .generate = generate,
                               .verify = verify};

}  // namespace fulmen::task
