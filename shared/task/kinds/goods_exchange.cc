// goods_exchange: everyone has one thing; who has what after a row of exchanges, some of which do not happen.
#include <algorithm>
#include <map>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

Problem generate(Random& random, int difficulty) {
  const size_t count = static_cast<size_t>(3 + difficulty);
  const std::vector<std::string> names = random.sample(people(), count);
  std::vector<std::string> owned;  // of the person with the same index
  while (owned.size() < count) {
    const std::string colour = random.pick(colours());
    const std::string thing = colour + " " + random.pick(things());
    if (std::find(owned.begin(), owned.end(), thing) == owned.end()) owned.push_back(thing);
  }
  std::vector<std::string> start;
  for (size_t i = 0; i < count; ++i) start.push_back(fmt::format("{} has the {}", names[i], owned[i]));
  std::vector<std::string> story;
  for (int step = 0; step < 2 + 2 * difficulty; ++step) {
    const size_t a = static_cast<size_t>(random.below(count));
    const size_t b = (a + 1 + static_cast<size_t>(random.below(count - 1))) % count;
    const int way = random.below(difficulty >= 3 ? 6 : 3);
    if (way == 3) {
      story.push_back(fmt::format("{} would like to have the {}, but does nothing.", names[a], owned[b]));
      continue;
    }
    if (way == 5) {
      story.push_back(fmt::format("{} offers {} an exchange, but {} refuses.", names[a], names[b], names[b]));
      continue;
    }
    if (way == 0) story.push_back(fmt::format("{} and {} exchange their things.", names[a], names[b]));
    if (way == 1) story.push_back(fmt::format("{} exchanges the {} for the {}.", names[a], owned[a], owned[b]));
    if (way == 2) story.push_back(fmt::format("The owners of the {} and the {} exchange them.", owned[a], owned[b]));
    if (way == 4) story.push_back(fmt::format("{} and the owner of the {} exchange their things.", names[a], owned[b]));
    std::swap(owned[a], owned[b]);
  }
  Problem p;
  p.size = static_cast<int>(story.size() + count);
  std::vector<std::string> lines;
  for (size_t i = 0; i < count; ++i) lines.push_back(fmt::format("{}: {}", names[i], owned[i]));
  p.puzzle = {{"start", start}, {"story", story}};
  p.answer = join(lines, "\n");
  p.prompt = fmt::format("{}.\nThen this happens, in this order:\n{}\nWho has what in the end?\n", join(start, ", "),
                         join(story, "\n")) +
             answer_request("one line for each person, NAME: THING, e.g. Ada: red book");
  return p;
}

// The lines as name -> thing; false when a line is something else or a name comes twice.
bool read_owners(std::string_view text, std::map<std::string, std::string>& owners) {
  for (const std::string& line : list_items(text)) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) return false;
    if (!owners.emplace(folded(line.substr(0, colon)), folded(line.substr(colon + 1))).second) return false;
  }
  return true;
}

Check verify(const Question& q, std::string_view answer) {
  std::map<std::string, std::string> got, want;
  if (!read_owners(q.gold, want)) throw Error("puzzle: the ground truth is no list of NAME: THING");
  if (!read_owners(answer, got)) return unreadable("want one line NAME: THING for each person");
  if (got.size() != want.size()) return wrong(fmt::format("{} people, want {}", got.size(), want.size()));
  for (const auto& [name, thing] : want) {
    const auto it = got.find(name);
    if (it == got.end()) return wrong(name + " is missing");
    if (it->second != thing) return wrong(name + " has something else");
  }
  return right();
}

}  // namespace

const Task kGoodsExchange{.id = 28,
                          .name = "goods_exchange",
                          .sentence = "who has what after a row of exchanges",
                          .size_means = "people and events",
                          .generate = generate,
                          .verify = verify};

}  // namespace fulmen::task
