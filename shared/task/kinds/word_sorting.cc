// word_sorting: put words in alphabetical order; harder ones ask for the reverse order or for an alphabet in which some
// letters come first.
#include <algorithm>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

Problem generate(Random& random, int difficulty) {
  const size_t count = static_cast<size_t>(3 + 2 * difficulty);
  std::vector<std::string> words = random.sample(english_words(), count);
  const bool reverse = difficulty >= 3 && random.chance(40);
  std::vector<int> first;  // letters that come before all others
  if (difficulty >= 5) {
    std::vector<int> letters;
    for (int c = 'a'; c <= 'z'; ++c) letters.push_back(c);
    first = random.sample(letters, static_cast<size_t>(difficulty - 3));
  }
  const auto rank = [&](char c) {
    const auto at = std::find(first.begin(), first.end(), c) - first.begin();
    return at == std::ssize(first) ? static_cast<std::ptrdiff_t>(first.size()) + c : at;
  };
  std::vector<std::string> sorted = words;
  std::sort(sorted.begin(), sorted.end(), [&](const std::string& a, const std::string& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [&](char x, char y) { return rank(x) < rank(y); });
  });
  if (reverse) std::reverse(sorted.begin(), sorted.end());
  Problem p;
  p.size = static_cast<int>(count);
  p.puzzle = {{"words", words}};
  p.answer = join(sorted, ", ");
  const std::string order = reverse ? "reverse alphabetical" : "alphabetical";
  p.prompt = fmt::format("Sort these words in {} order: {}\n", order, join(words, ", "));
  if (!first.empty()) {
    std::vector<std::string> letters;
    for (const int c : first) letters.push_back(fmt::format("{}", static_cast<char>(c)));
    p.prompt +=
        fmt::format("The alphabet is a changed one: {} come first, in this order, then the other letters as usual.\n",
                    join(letters, ", "));
  }
  p.prompt += answer_request("the words in order, separated by commas");
  return p;
}

}  // namespace

const Task kWordSorting{.id = 20,
                        .name = "word_sorting",
                        .sentence = "words in order, of a changed alphabet when harder",
                        .size_means = "words",
                        .generate = generate,
                        .verify = check_list};

}  // namespace fulmen::task
