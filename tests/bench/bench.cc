#include "tests/bench/bench.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "kernels/error.h"
#include "tests/bench/progress.h"

namespace fulmen::bench {
namespace {

std::vector<TableEntry>& registry() {
  static std::vector<TableEntry> entries;
  return entries;
}

struct Judged {
  std::string row;
  double ratio;
  Bar bar;
  bool quiet;
  bool reached() const { return bar.side == Bar::kAtLeast ? ratio >= bar.wanted : ratio <= bar.wanted; }
  const char* sign() const { return bar.side == Bar::kAtLeast ? ">=" : "<="; }
};

std::vector<Judged>& judged() {
  static std::vector<Judged> list;
  return list;
}

// Busy seconds of all processors since boot, steal included.
double busy_seconds() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
  stat >> cpu >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal;
  FULMEN_CHECK(stat && cpu == "cpu", "bench: cannot read /proc/stat");
  return (user + nice + system + irq + softirq + steal) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double own_seconds() {  // with the processes that were waited for
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  double own = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage u{};
    getrusage(who, &u);
    own += seconds(u.ru_utime) + seconds(u.ru_stime);
  }
  return own;
}

// Longer than any library here spins after a parallel region (OpenBLAS: about 30 ms).
constexpr auto kSleepOfSpinners = std::chrono::milliseconds(40);
constexpr double kTurnSeconds = 0.02;
constexpr double kLongSeconds = 0.25;  // a call this long needs no warm-up before each turn

constexpr double kSlowSeconds = 4;  // twice is enough

// One turn: seconds per call, the fastest of a few batches.
double turn(const std::function<void()>& run, double estimate) {
  const int64_t calls = std::max<int64_t>(1, static_cast<int64_t>(kTurnSeconds / 4 / estimate));
  double best = 1e30;
  const double start = now_seconds();
  do {
    const double t = now_seconds();
    for (int64_t i = 0; i < calls; ++i) run();
    best = std::min(best, (now_seconds() - t) / static_cast<double>(calls));
  } while (now_seconds() - start < kTurnSeconds);
  return best;
}

}  // namespace

bool register_table(const char* name, const char* what, TableFn run, double seconds) {
  registry().push_back({name, what, run, seconds});
  return true;
}

const std::vector<TableEntry>& tables() { return registry(); }

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Quiet::Quiet() : wall_(now_seconds()), busy_(busy_seconds()), own_(own_seconds()) {}

double Quiet::others() const {
  const double wall = now_seconds() - wall_;
  return std::max(0.0, (busy_seconds() - busy_) - (own_seconds() - own_)) / std::max(wall, 1e-3);
}

double median(std::vector<double> v) {
  FULMEN_CHECK(!v.empty(), "median: no values");
  const auto mid = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), mid, v.end());
  return *mid;
}

namespace {

// Rounds of turns, once.
Race::Result measure(const std::vector<Race::Contender>& contenders, const std::vector<double>& estimate, int rounds,
                     bool pause_between) {
  const size_t n = contenders.size();
  std::vector<std::vector<double>> seconds(n), ratio(n);
  const Quiet quiet;
  for (int r = 0; r < rounds; ++r)
    for (size_t i = 0; i < n; ++i) {
      if (pause_between) std::this_thread::sleep_for(kSleepOfSpinners);
      if (estimate[i] < kLongSeconds) contenders[i].run();  // wakes its threads, fills its caches
      seconds[i].push_back(turn(contenders[i].run, estimate[i]));
      ratio[i].push_back(seconds[i].back() / seconds[0].back());
    }
  Race::Result result{{}, {}, quiet.others()};
  for (size_t i = 0; i < n; ++i) {
    result.seconds.push_back(median(seconds[i]));
    result.ratio.push_back(median(ratio[i]));
  }
  return result;
}

}  // namespace

Race::Result Race::run(const std::vector<Contender>& contenders, const Options& options, bool pause_between) {
  static double seconds_for_repeats = 60;  // in the whole run
  show_progress();
  const size_t n = contenders.size();
  std::vector<double> estimate(n);
  for (size_t i = 0; i < n; ++i) {
    const double first = now_seconds();
    contenders[i].run();
    const double t = now_seconds();
    estimate[i] = t - first;
    if (estimate[i] > kLongSeconds) continue;
    contenders[i].run();
    estimate[i] = std::max(now_seconds() - t, 1e-8);
  }
  const bool slow = *std::max_element(estimate.begin(), estimate.end()) > kSlowSeconds;
  const int rounds = slow ? 2 : std::max(3, static_cast<int>(options.seconds_per_case / kTurnSeconds));
  Result best;
  for (int repeat = 0;; ++repeat) {  // others often work for a moment only
    const double start = now_seconds();
    const Result r = measure(contenders, estimate, rounds, pause_between);
    if (repeat == 0 || r.others < best.others) best = r;
    const double took = now_seconds() - start;
    if (best.quiet() || repeat == 2 || took > seconds_for_repeats) break;
    seconds_for_repeats -= took;
  }
  clear_progress();
  return best;
}

std::string ratio_text(double ratio, bool quiet) {
  if (!quiet) return "noisy";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", ratio);
  return text;
}

std::string share_text(double share, bool quiet) {
  if (!quiet) return "noisy";
  char text[32];
  std::snprintf(text, sizeof text, "%.0f%%", 100 * share);
  return text;
}

std::string judge(const std::string& row, double ratio, Bar bar, bool quiet) {
  const Judged j{row, ratio, bar, quiet};
  judged().push_back(j);
  char text[48] = "noisy";
  if (quiet)
    std::snprintf(text, sizeof text, "%.2f %s %.2f %s", ratio, j.sign(), bar.wanted, j.reached() ? "ok" : "NO");
  return text;
}

void print_bars() {
  if (judged().empty()) return;
  int reached = 0, missed = 0, noisy = 0;
  std::printf("\n%-9s %8s  %s\n", "bars", "measured", "wanted");
  for (const Judged& j : judged()) {
    ++(!j.quiet ? noisy : j.reached() ? reached : missed);
    std::printf("%-9s %8s  %s %.2f  %s\n",
                !j.quiet      ? "noisy"
                : j.reached() ? "reached"
                              : "MISSED",
                j.quiet ? ratio_text(j.ratio, true).c_str() : "-", j.sign(), j.bar.wanted, j.row.c_str());
  }
  std::printf("\n%d of %zu bars reached, %d missed, %d noisy\n", reached, judged().size(), missed, noisy);
  if (noisy > 0)
    std::printf(
        "noisy: others took more than %.0f %% of a core, so nothing is claimed. Again, on an idle machine: fulmen "
        "bench TABLE --filter ROW\n",
        100 * Quiet::kLimit);
}

void AlignedFree::operator()(void* p) const { std::free(p); }

FloatBuffer random_floats(size_t n, unsigned seed) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t align = n * sizeof(float) >= kHugePage ? kHugePage : 64;
  const size_t bytes = (n * sizeof(float) + align - 1) / align * align + align;
  FloatBuffer buffer(static_cast<float*>(std::aligned_alloc(align, bytes)));
  FULMEN_CHECK(buffer, "bench: out of memory, want " + std::to_string(bytes) + " bytes");
  if (align == kHugePage) madvise(buffer.get(), bytes, MADV_HUGEPAGE);
  uint32_t x = seed * 2654435761u + 1;
  for (size_t i = 0; i < n; ++i) {
    x = x * 1664525u + 1013904223u;
    buffer[i] = static_cast<float>(static_cast<int32_t>(x)) * 0x1p-31f;
  }
  return buffer;
}

}  // namespace fulmen::bench
