// time_sequence: people in several time zones have appointments on some weekdays; how long is the longest meeting that
// all can hold within 9:00-17:00 of each one's own day, and how many starts on a five-minute grid has it in the week?
#include <algorithm>
#include <bitset>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

constexpr int kSlots = 96;  // of five minutes, 9:00 to 17:00
constexpr const char* kDays[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday"};
using Day = std::bitset<kSlots>;  // set: free

std::string clock(int slot) {
  const int minutes = 9 * 60 + 5 * slot;
  return fmt::format("{:02}:{:02}", minutes / 60, minutes % 60);
}

// One person's day, told in busy or in free times of their own clock.
std::string told_day(Random& random, int appointments, Day& free) {
  free.set();
  for (int i = 0; i < appointments; ++i) {
    const int begin = random.between(0, kSlots - 2), length = random.between(1, 18);
    for (int s = begin; s < std::min(kSlots, begin + length); ++s) free.reset(static_cast<size_t>(s));
  }
  const bool tells_free = random.chance(40);
  std::vector<std::string> spans;
  for (int s = 0; s < kSlots;) {
    int end = s;
    while (end < kSlots && free[static_cast<size_t>(end)] == free[static_cast<size_t>(s)]) ++end;
    if (free[static_cast<size_t>(s)] == tells_free) spans.push_back(clock(s) + "-" + clock(end));
    s = end;
  }
  if (spans.empty()) return tells_free ? "busy all day" : "free all day";
  return fmt::format("{} {}", tells_free ? "free only" : "busy", join(spans, ", "));
}

Problem generate(Random& random, int difficulty) {
  const size_t persons = static_cast<size_t>(2 + (difficulty + 1) / 3),
               days = static_cast<size_t>(difficulty <= 3 ? 1 + difficulty / 2 : std::min(5, difficulty / 2 + 1));
  const int appointments = 2 + difficulty / 4;
  const std::vector<std::string> names = random.sample(people(), persons);
  for (;;) {
    std::vector<Day> all(days, Day().set());
    std::string story;
    for (size_t i = 0; i < persons; ++i) {
      const int shift = i == 0 || difficulty < 4 ? 0 : random.between(-3, 3);
      const std::string zone =
          shift == 0 ? ""
                     : fmt::format(" (whose clock is {} {} {} of {}'s)", std::abs(shift),
                                   std::abs(shift) == 1 ? "hour" : "hours", shift > 0 ? "ahead" : "behind", names[0]);
      story += fmt::format("{}{}:\n", names[i], zone);
      for (size_t d = 0; d < days; ++d) {
        Day free;
        const std::string text = told_day(random, appointments, free);
        story += fmt::format("  {}: {}\n", kDays[d], text);
        Day moved;
        for (int s = 0; s < kSlots; ++s) {
          const int here = s - 12 * shift;  // own slot s lies at this slot of the first one
          if (here >= 0 && here < kSlots && free[static_cast<size_t>(s)]) moved.set(static_cast<size_t>(here));
        }
        all[d] &= moved;
      }
    }
    int longest = 0, starts = 0;
    for (const Day& day : all) {
      int run = 0;
      for (int s = 0; s < kSlots; ++s) {
        run = day[static_cast<size_t>(s)] ? run + 1 : 0;
        if (run > longest) longest = run, starts = 0;
        if (run == longest && run > 0) ++starts;
      }
    }
    if (longest == 0) continue;
    Problem p;
    p.size = static_cast<int>(persons * days);
    p.puzzle = {{"schedules", story}};
    p.answer = fmt::format("{} {}", 5 * longest, starts);
    p.prompt =
        fmt::format(
            "These people work from 9:00 to 17:00 of their own clock and want to meet on one of {} days. Times are "
            "given on each one's own clock.\n{}How many minutes does the longest meeting take that all can attend, "
            "and at how many places of the week, on a grid of five minutes, can a meeting of that length begin?\n",
            days, story) +
        answer_request("two numbers separated by a blank: the minutes and the number of places");
    return p;
  }
}

Check verify(const Question& q, std::string_view answer) {
  const auto got = integers(answer), want = integers(q.gold);
  if (!want || want->size() != 2) throw Error("puzzle: the ground truth is not two numbers");
  if (!got || got->size() != 2) return unreadable("want two numbers");
  return *got == *want ? right() : wrong("not the longest meeting, or not the number of places");
}

}  // namespace

const Task kTimeSequence{.id = 31,
                         .name = "time_sequence",
                         .sentence = "the longest meeting that all schedules allow",
                         .size_means = "schedules of a day",
                         .generate = generate,
                         .verify = verify};

}  // namespace fulmen::task
