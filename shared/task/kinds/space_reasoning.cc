// space_reasoning: on a walk along the lines of a square grid, things are seen at some crossings. Then: what is at the
// crossing some steps away from the present one? Crossings where nothing was seen are unknown.
#include <algorithm>
#include <array>
#include <map>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

using Place = std::pair<int, int>;  // right, up
constexpr std::array<const char*, 4> kWays{"right", "up", "left", "down"};
constexpr std::array<int, 4> kRight{1, 0, -1, 0}, kUp{0, 1, 0, -1};

std::string steps(int n) { return n == 1 ? "1 step" : fmt::format("{} steps", n); }

// A few legs of a random walk: "2 steps right, then 1 step up".
std::string walk(Random& random, int legs, Place& at) {
  std::string text;
  int last = -1;
  for (int i = 0; i < legs; ++i) {
    int way = random.below(4);
    while (way == last || (last >= 0 && way == (last + 2) % 4)) way = random.below(4);
    last = way;
    const int n = random.between(1, 4);
    at.first += n * kRight[static_cast<size_t>(way)];
    at.second += n * kUp[static_cast<size_t>(way)];
    text += fmt::format("{}{} {}", i == 0 ? "" : ", then ", steps(n), kWays[static_cast<size_t>(way)]);
  }
  return text;
}

// From one place to another in random pieces, with a detour.
std::string route(Random& random, const Place& from, const Place& to, int detours) {
  std::vector<Place> legs{{to.first - from.first, 0}, {0, to.second - from.second}};
  for (int i = 0; i < detours; ++i) {
    const int n = random.between(1, 3);
    const bool sideways = random.chance(50);
    legs.push_back(sideways ? Place{n, 0} : Place{0, n});
    legs.push_back(sideways ? Place{-n, 0} : Place{0, -n});
  }
  random.shuffle(legs);
  std::string text;
  for (const auto& [right_by, up_by] : legs) {
    if (right_by == 0 && up_by == 0) continue;
    const char* way = right_by > 0 ? "right" : right_by < 0 ? "left" : up_by > 0 ? "up" : "down";
    text += fmt::format("{}{} {}", text.empty() ? "" : ", then ", steps(std::abs(right_by + up_by)), way);
  }
  return text.empty() ? "no step" : text;
}

Problem generate(Random& random, int difficulty) {
  const size_t stops = static_cast<size_t>(3 + difficulty);
  const int legs = 1 + difficulty / 3;
  std::vector<std::string> names = random.sample(things(), stops);
  Place at{0, 0};
  std::map<Place, std::string> seen{{at, names[0]}};
  std::string story = fmt::format("You start at a crossing where you see a {}.", names[0]);
  for (size_t i = 1; i < stops; ++i) {
    Place next = at;
    std::string text;
    do next = at, text = walk(random, legs, next);
    while (seen.count(next) != 0);
    at = next;
    seen.emplace(at, names[i]);
    story += fmt::format(" You go {} and see a {}.", text, names[i]);
  }
  Place target = at;
  std::string answer = "unknown";
  if (random.chance(85)) {
    std::vector<Place> known;
    for (const auto& [place, name] : seen)
      if (place != at) known.push_back(place);
    target = random.pick(known);
    answer = seen[target];
  } else {
    do {
      target.first = at.first + random.between(-6, 6);
      target.second = at.second + random.between(-6, 6);
    } while (seen.count(target) != 0);
  }
  Problem p;
  p.size = static_cast<int>(stops) * legs;
  p.puzzle = {{"story", story}};
  p.answer = answer;
  p.prompt =
      fmt::format(
          "On the lines of a large square grid, at some crossings something stands. {}\nNow, from where you are: what "
          "stands where you come to by going {}?\n",
          story, route(random, at, target, difficulty / 3)) +
      answer_request("the thing alone, or unknown when nothing was seen there");
  return p;
}

}  // namespace

const Task kSpaceReasoning{.id = 29,
                           .name = "space_reasoning",
                           .sentence = "what stands some steps away after a walk on a grid",
                           .size_means = "legs of the walk",
                           .generate = generate,
                           .verify = check_text};

}  // namespace fulmen::task
