// word_sorting_mistake: a protocol of sorting words by insertion; each step shows the list so far. At most one step
// makes a mistake; later steps go on from the wrong list without one of their own.
#include <algorithm>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

// Where a word belongs: behind every word that is smaller, as far as the list is in order.
size_t place_for(const std::vector<std::string>& list, const std::string& word) {
  size_t at = list.size();
  while (at > 0 && word < list[at - 1]) --at;
  return at;
}

Problem generate(Random& random, int difficulty) {
  const size_t count = static_cast<size_t>(4 + difficulty);
  const std::vector<std::string> words = random.sample(english_words(), count);
  const int mistake = random.chance(20) ? -1 : random.between(2, static_cast<int>(count));
  std::vector<std::string> list;
  std::string protocol;
  for (size_t i = 0; i < count; ++i) {
    size_t at = place_for(list, words[i]);
    if (static_cast<int>(i) + 1 == mistake) {  // any other place than the right one
      const size_t other = static_cast<size_t>(random.below(list.size()));
      at = other >= at ? other + 1 : other;
    }
    list.insert(list.begin() + static_cast<std::ptrdiff_t>(at), words[i]);
    protocol += fmt::format("Step {}: insert {}: {}\n", i + 1, words[i], join(list, ", "));
  }
  Problem p;
  p.size = static_cast<int>(count);
  p.puzzle = {{"words", words}};
  p.answer = mistake == -1 ? "none" : std::to_string(mistake);
  p.prompt =
      fmt::format(
          "Words are sorted alphabetically by insertion: from the right end of the list so far, a new word goes past "
          "every word that comes after it in the alphabet, and stops at the first that does not. At most one step "
          "inserts its word at a wrong place; the steps after it go on from that list by the same rule. Which step is "
          "wrong?\nWords: {}\n\n{}",
          join(words, ", "), protocol) +
      answer_request("the number of the wrong step, or none");
  return p;
}

}  // namespace

const Task kWordSortingMistake{.id = 21,
                               .name = "word_sorting_mistake",
                               .sentence = "the wrong step in a protocol of sorting words",
                               .size_means = "steps",
                               .generate = generate,
                               .verify = check_text};

}  // namespace fulmen::task
