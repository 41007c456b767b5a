// object_properties: a collection of things with a size, a colour, a material and a smell goes through changes; how
// many things with some property are there in the end.
#include <algorithm>
#include <array>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

constexpr size_t kProperties = 4;
using Thing = std::array<std::string, kProperties + 1>;  // the properties, then the name
constexpr std::array<const char*, kProperties> kNames{"size", "colour", "material", "smell"};

const std::vector<std::string>& values(size_t property) {
  static const std::vector<std::vector<std::string>> all{
      {"tiny", "small", "large", "huge"},
      {"red", "blue", "green", "yellow", "white", "black"},
      {"wood", "glass", "silver", "clay", "rubber"},
      {"roses", "smoke", "coffee", "mint", "vanilla"},
  };
  return all[property];
}

Thing random_thing(Random& random) {
  Thing t;
  for (size_t p = 0; p < kProperties; ++p) t[p] = random.pick(values(p));
  t[kProperties] = random.pick(things());
  return t;
}

std::string described(const Thing& t) {
  return fmt::format("a {} {} {} of {} that smells of {}", t[0], t[1], t[4], t[2], t[3]);
}

// One change, told and carried out.
std::string change(Random& random, std::vector<Thing>& all) {
  const size_t p = static_cast<size_t>(random.below(kProperties));
  const std::string value = random.pick(all)[p];
  const auto has = [&](const Thing& t) { return t[p] == value; };
  switch (random.below(4)) {
    case 0: {
      if (std::all_of(all.begin(), all.end(), has)) break;
      all.erase(std::remove_if(all.begin(), all.end(), has), all.end());
      return fmt::format("Then I lost every thing whose {} was {}.", kNames[p], value);
    }
    case 1: {
      const size_t other = (p + 1 + static_cast<size_t>(random.below(kProperties - 1))) % kProperties;
      const std::string to = random.pick(values(other));
      for (Thing& t : all)
        if (has(t)) t[other] = to;
      return fmt::format("Then the {} of every thing whose {} was {} became {}.", kNames[other], kNames[p], value, to);
    }
    case 2: {
      const size_t before = all.size();
      const size_t other = (p + 1 + static_cast<size_t>(random.below(kProperties - 1))) % kProperties;
      const std::string to = random.pick(values(other));
      for (size_t i = 0; i < before && all.size() < 60; ++i) {
        if (!has(all[i])) continue;
        Thing copy = all[i];
        copy[other] = to;
        all.push_back(copy);
      }
      if (all.size() == 60) break;
      return fmt::format("Then I got, for every thing whose {} was {}, a copy of it whose {} was {}.", kNames[p], value,
                         kNames[other], to);
    }
    default:
      break;
  }
  all.push_back(random_thing(random));
  return fmt::format("Then I bought {}.", described(all.back()));
}

Problem generate(Random& random, int difficulty) {
  for (;;) {
    std::vector<Thing> all;
    for (int i = 0; i < 5 + difficulty; ++i) all.push_back(random_thing(random));
    std::vector<std::string> list;
    for (const Thing& t : all) list.push_back(described(t));
    const size_t first = all.size();
    std::vector<std::string> story;
    bool too_many = false;
    for (int i = 0; i < 1 + difficulty * 2 / 3; ++i) {
      story.push_back(change(random, all));
      too_many = too_many || all.size() >= 60;
    }
    if (too_many) continue;  // a change may have stopped half-way
    size_t a = 0, b = 0;
    std::string va, vb;
    bool both = false;
    int64_t counted = 0;
    // The number asked for is drawn first, as far as the things allow: a random question would mostly count 0 or 1.
    constexpr int kTries = 200;
    const int most = std::clamp(static_cast<int>(all.size()) * 2 / 3, 1, 6);
    const int wanted = random.chance(12) ? 0 : random.between(1, most);
    for (int i = 0; i < kTries; ++i) {
      a = static_cast<size_t>(random.below(kProperties));
      b = (a + 1 + static_cast<size_t>(random.below(kProperties - 1))) % kProperties;
      va = random.pick(values(a)), vb = random.pick(values(b));
      both = random.chance(30);
      counted = std::count_if(all.begin(), all.end(), [&](const Thing& t) {
        return both ? t[a] == va && t[b] == vb : t[a] == va || t[b] == vb;
      });
      if (counted == wanted) break;
    }
    Problem p;
    p.size = static_cast<int>(first + story.size());
    p.puzzle = {{"things", list}, {"changes", story}};
    p.answer = std::to_string(counted);
    p.prompt = fmt::format("I had these things: {}. {}\nHow many of my things now have {} {} {} {} {}?\n",
                           join(list, "; "), join(story, " "), kNames[a], va, both ? "and" : "or", kNames[b], vb) +
               answer_request("the number");
    return p;
  }
}

}  // namespace

const Task kObjectProperties{.id = 26,
                             .name = "object_properties",
                             .sentence = "things with properties through changes, counted in the end",
                             .size_means = "things and changes",
                             .generate = generate,
                             .verify = check_integer};

}  // namespace fulmen::task
