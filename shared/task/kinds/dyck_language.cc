// dyck_language: complete a sequence of brackets with as few as possible, so that every one is closed by its like.
#include "shared/task/kinds/brackets.h"
#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

Problem generate(Random& random, int difficulty) {
  const int pairs = 3 + 2 * difficulty, types = difficulty <= 2 ? 2 : difficulty <= 5 ? 3 : 4;
  for (;;) {
    const std::string whole = balanced(random, pairs, types);
    // The end of what is shown: only closing brackets may be missing.
    size_t shown = whole.size();
    const int wanted = 1 + difficulty;
    while (shown > 0 && !is_opening(whole[shown - 1]) && whole.size() - shown < static_cast<size_t>(wanted)) --shown;
    const int missing = static_cast<int>(whole.size() - shown);
    if (missing < std::min(wanted, 2 + difficulty / 3)) continue;
    Problem p;
    p.size = missing;
    p.puzzle = {{"sequence", whole.substr(0, shown)}};
    p.answer = whole;
    p.prompt =
        fmt::format(
            "Complete this sequence of brackets with as few brackets as possible, so that every bracket is closed by "
            "its like and in the right order: {}\n",
            whole.substr(0, shown)) +
        answer_request("the whole sequence");
    return p;
  }
}

Check verify(const Question& q, std::string_view answer) {
  const std::string sequence = text_field(q.puzzle, "sequence");
  std::string open, got;
  for (const char c : answer)
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') got += c;
  for (const char c : sequence) {
    if (is_opening(c)) {
      open += c;
    } else {
      if (open.empty() || closing_of(open.back()) != c) throw Error("puzzle: sequence: want one that can be completed");
      open.pop_back();
    }
  }
  std::string want = sequence;
  for (; !open.empty(); open.pop_back()) want += closing_of(open.back());
  return got == want ? right() : wrong("not the shortest completion");
}

}  // namespace

const Task kDyckLanguage{.id = 17,
                         .name = "dyck_language",
                         .sentence = "complete a sequence of brackets",
                         .size_means = "missing brackets",
                         .generate = generate,
                         .verify = verify};

}  // namespace fulmen::task
