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

namespace fulmen::bench {
namespace {

std::vector<TableEntry>& registry() {
  static std::vector<TableEntry> entries;
  return entries;
}

struct Judged {
  std::string row, text;
  bool quiet, reached;
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

double own_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(u.ru_utime) + seconds(u.ru_stime);
}

// Longer than any library here spins after a parallel region (OpenBLAS: about 30 ms).
constexpr auto kSleepOfSpinners = std::chrono::milliseconds(40);
constexpr double kTurnSeconds = 0.02;
constexpr double kLongSeconds = 0.25;  // a call this long needs no warm-up before each turn

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

Race::Result Race::run(const std::vector<Contender>& contenders, const Options& options, bool pause_between) {
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
  const int rounds = std::max(3, static_cast<int>(options.seconds_per_case / kTurnSeconds));
  std::vector<std::vector<double>> seconds(n), ratio(n);
  const Quiet quiet;
  for (int r = 0; r < rounds; ++r)
    for (size_t i = 0; i < n; ++i) {
      if (pause_between) std::this_thread::sleep_for(kSleepOfSpinners);
      if (estimate[i] < kLongSeconds) contenders[i].run();  // wakes its threads, fills its caches
      seconds[i].push_back(turn(contenders[i].run, estimate[i]));
      ratio[i].push_back(seconds[i].back() / seconds[0].back());
    }
  Result result{{}, {}, quiet.others()};
  for (size_t i = 0; i < n; ++i) {
    result.seconds.push_back(median(seconds[i]));
    result.ratio.push_back(median(ratio[i]));
  }
  return result;
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
  const bool reached = bar.side == Bar::kAtLeast ? ratio >= bar.wanted : ratio <= bar.wanted;
  char text[48] = "noisy";
  if (quiet)
    std::snprintf(text, sizeof text, "%.2f %s %.2f %s", ratio, bar.side == Bar::kAtLeast ? ">=" : "<=", bar.wanted,
                  reached ? "ok" : "NO");
  judged().push_back({row, text, quiet, reached});
  return text;
}

void print_bars() {
  int reached = 0, missed = 0, noisy = 0;
  for (const Judged& j : judged()) ++(!j.quiet ? noisy : j.reached ? reached : missed);
  if (judged().empty()) return;
  std::printf("\nbars: %d reached, %d missed, %d not measured (others took more than %.0f %% of a core)\n", reached,
              missed, noisy, 100 * Quiet::kLimit);
  for (const Judged& j : judged())
    if (!j.quiet || !j.reached) std::printf("  %-64s %s\n", j.row.c_str(), j.text.c_str());
  if (noisy > 0)
    std::printf("  to measure the noisy ones again, on an idle machine: fulmen bench TABLE --filter ROW\n");
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
