// object_counting: how many things of a class one person has, among things of others and of other classes, with counts
// that change in the telling.
#include <algorithm>

#include "shared/task/kinds/kinds.h"

namespace fulmen::task {
namespace {

struct Class {
  const char* name;
  std::vector<std::string> members;
};

const std::vector<Class>& classes() {
  static const std::vector<Class> all{
      {"fruits", {"apples", "pears", "bananas", "plums", "oranges", "mangos"}},
      {"animals", {"goats", "ducks", "rabbits", "cats", "hens", "sheep"}},
      {"instruments", {"violins", "flutes", "drums", "trumpets", "guitars", "harps"}},
      {"pieces of furniture", {"chairs", "tables", "beds", "shelves", "desks", "stools"}},
      {"tools", {"hammers", "saws", "drills", "pliers", "wrenches", "chisels"}},
  };
  return all;
}

// "7 (at first 3, then 6 more, then 2 were lost)" and the final count.
std::string told(Random& random, int changes, int& count) {
  count = random.between(1, 20);
  if (changes == 0) return std::to_string(count);
  std::string story = fmt::format("some (at first {}", count);
  for (int i = 0; i < changes; ++i) {
    if (count > 1 && random.chance(40)) {
      const int lost = random.between(1, count - 1);
      count -= lost;
      story += fmt::format(", then {} got lost", lost);
    } else {
      const int more = random.between(1, 30);
      count += more;
      story += fmt::format(", then {} more", more);
    }
  }
  return story + ")";
}

Problem generate(Random& random, int difficulty) {
  static const std::vector<std::string> owners{"I have",         "My aunt has",  "My brother has",
                                               "My teacher has", "My uncle has", "My neighbour has"};
  const size_t items = static_cast<size_t>(3 + 2 * difficulty);
  const size_t asked_class = static_cast<size_t>(random.below(classes().size()));
  int total = 0;
  std::vector<std::string> lines;
  std::vector<std::string> seen;  // owner and thing come together once
  while (lines.size() < items) {
    const size_t owner = random.chance(55) ? 0 : static_cast<size_t>(random.below(owners.size()));
    const size_t kind = random.chance(45) ? asked_class : static_cast<size_t>(random.below(classes().size()));
    const std::string& thing = random.pick(classes()[kind].members);
    const std::string pair = fmt::format("{}/{}", owner, thing);
    if (std::find(seen.begin(), seen.end(), pair) != seen.end()) continue;
    seen.push_back(pair);
    const int changes = difficulty >= 3 && random.chance(35) ? random.between(1, 1 + difficulty / 3) : 0;
    int count = 0;
    const std::string number = told(random, changes, count);
    lines.push_back(fmt::format("{} {} {}.", owners[owner], number, thing));
    if (owner == 0 && kind == asked_class) total += count;
  }
  Problem p;
  p.size = static_cast<int>(items);
  p.puzzle = {{"sentences", lines}, {"asked", classes()[asked_class].name}};
  p.answer = std::to_string(total);
  p.prompt = fmt::format("{}\nHow many {} do I have?\n", join(lines, " "), classes()[asked_class].name) +
             answer_request("the number");
  return p;
}

}  // namespace

const Task kObjectCounting{.id = 25,
                           .name = "object_counting",
                           .sentence = "how many things of a class one person has",
                           .size_means = "statements",
                           .generate = generate,
                           .verify = check_integer};

}  // namespace fulmen::task
