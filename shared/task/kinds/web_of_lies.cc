// web_of_lies: each person always lies or always tells the truth. From what one says about another, from one whose
// nature is told, everyone's nature follows.
#include <algorithm>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

Problem generate(Random& random, int difficulty) {
  const size_t count = static_cast<size_t>(3 + 2 * difficulty);
  const std::vector<std::string> names = random.sample(people(), count);
  const std::vector<std::string> where = random.sample(places(), std::min(count, size_t{12}));
  std::vector<bool> honest(count);
  for (size_t i = 0; i < count; ++i) honest[i] = random.chance(50);
  const auto called = [&](size_t i, bool by_place) {
    return by_place && i < where.size() ? "the person at the " + where[i] : names[i];
  };
  std::vector<std::string> facts{fmt::format("{} {}.", names[0], honest[0] ? "always tells the truth" : "always lies")};
  for (size_t i = 1; i < count; ++i) {  // each is tied to one before: the statements form a tree, so all natures follow
    const size_t other = static_cast<size_t>(random.below(i));
    const bool i_speaks = random.chance(50);
    const size_t speaker = i_speaks ? i : other, target = i_speaks ? other : i;
    const bool says_honest = honest[speaker] == honest[target];
    const bool speaker_by_place = difficulty >= 4 && random.chance(40);
    const bool target_by_place = difficulty >= 4 && random.chance(40);
    std::string speaker_name = called(speaker, speaker_by_place);
    speaker_name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(speaker_name[0])));
    facts.push_back(fmt::format("{} says that {} {}.", speaker_name, called(target, target_by_place),
                                says_honest ? "tells the truth" : "lies"));
  }
  if (difficulty >= 4)
    for (size_t i = 0; i < where.size(); ++i) facts.push_back(fmt::format("{} is at the {}.", names[i], where[i]));
  random.shuffle(facts);
  std::vector<size_t> everyone;
  for (size_t i = 1; i < count; ++i) everyone.push_back(i);
  std::vector<std::string> asked, answers;
  for (const size_t i : random.sample(everyone, static_cast<size_t>(difficulty <= 2 ? 2 : difficulty <= 6 ? 3 : 5))) {
    asked.push_back(names[i]);
    answers.push_back(honest[i] ? "yes" : "no");
  }
  Problem p;
  p.size = static_cast<int>(count);
  p.puzzle = {{"facts", facts}, {"asked", asked}};
  p.answer = join(answers, ", ");
  p.prompt =
      fmt::format(
          "Each of these people either always tells the truth or always lies.\n{}\nDo these tell the truth: {}?\n",
          join(facts, " "), join(asked, ", ")) +
      answer_request("yes or no for each, in this order, separated by commas");
  return p;
}

}  // namespace

const Task kWebOfLies{.id = 24,
                      .name = "web_of_lies",
                      .sentence = "who lies and who tells the truth",
                      .size_means = "people",
                      .generate = generate,
                      .verify = check_list};

}  // namespace fulmen::task
