#include "tests/bench/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tests/bench/bench.h"

namespace fulmen::bench {
namespace {

struct State {
  std::vector<PlannedTable> tables;
  size_t current = 0;
  double start = 0, table_start = 0;
  double done = 0;  // planned seconds of the tables that are through
  bool drawn = false;
};

State& state() {
  static State s;
  return s;
}

bool on_terminal() {
  static const bool terminal = isatty(STDERR_FILENO) == 1;
  return terminal;
}

// A table that takes longer than planned has a twentieth of it left until it ends.
double seconds_left(const State& s) {
  const double now = now_seconds(), planned = s.tables[s.current].seconds;
  const double pace = s.done > 0 ? (s.table_start - s.start) / s.done : 1;
  double later = 0;
  for (size_t i = s.current + 1; i < s.tables.size(); ++i) later += s.tables[i].seconds;
  return pace * later + std::max(pace * planned - (now - s.table_start), planned / 20);
}

}  // namespace

std::string duration_text(double seconds) {
  const int whole = static_cast<int>(seconds + 0.5);
  return whole < 60 ? std::to_string(whole) + " s"
                    : std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
}

void plan_progress(std::vector<PlannedTable> tables) { state() = {std::move(tables), 0, now_seconds(), 0, 0, false}; }

void begin_table(size_t index) {
  State& s = state();
  if (s.tables.empty()) return;
  s.current = index;
  s.table_start = now_seconds();
  s.done = 0;
  for (size_t i = 0; i < index; ++i) s.done += s.tables[i].seconds;
  if (!on_terminal())
    std::fprintf(stderr, "table %zu of %zu, about %s left\n", index + 1, s.tables.size(),
                 duration_text(seconds_left(s)).c_str());
}

void show_progress() {
  State& s = state();
  if (!on_terminal() || s.tables.empty()) return;
  const double left = seconds_left(s), elapsed = now_seconds() - s.start;
  std::fprintf(stderr, "\r\033[K  measuring %s, table %zu of %zu; %.0f %% done, about %s left",
               s.tables[s.current].name.c_str(), s.current + 1, s.tables.size(), 100 * elapsed / (elapsed + left),
               duration_text(left).c_str());
  std::fflush(stderr);
  s.drawn = true;
}

void clear_progress() {
  if (!state().drawn) return;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
  state().drawn = false;
}

}  // namespace fulmen::bench
