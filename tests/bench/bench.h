#pragma once
// The frame of fulmen-bench: tables, one per file <name>_bench.cc, and the rules of honest timing.
//
// - Contenders are timed in turns within one run (Race) and compared by the median of the ratios of the rounds.
// - Others' use of the processor is read from /proc/stat around every measurement; above 10 % of a core it is repeated
//   while there is time for that, and then no ratio is printed.
// - The limits of the machine (limits.h) are measured in the same run.
// - A ratio that has a bar is printed beside it, and the run closes with a table of all bars: reached, missed, noisy.

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace fulmen::bench {

struct Options {
  std::string filter;  // rows whose name contains this
  std::vector<int> threads = {1, 2};
  double seconds_per_case = 0.16;  // of timing for each contender
  bool quick = false;              // only rows that take little time and memory
};

// Called by fulmen-bench with the options of the command line; prints to stdout.
using TableFn = void (*)(const Options&);

// At namespace scope of <name>_bench.cc:  const bool kRegistered = register_table("gemm", "what it shows", run);
// `seconds`: what it takes with default options on two cores, for the estimate of the time left.
bool register_table(const char* name, const char* what, TableFn run, double seconds = 20);

struct TableEntry {
  const char* name;
  const char* what;
  TableFn run;
  double seconds;
};
const std::vector<TableEntry>& tables();

double now_seconds();

// CPU time that others (other processes, the hypervisor) took since construction, as a share of one core.
class Quiet {
 public:
  Quiet();
  double others() const;
  static constexpr double kLimit = 0.10;

 private:
  double wall_, busy_, own_;
};

// Times contenders in turns. Before each turn it waits until the spinning worker threads of the previous contender
// sleep.
class Race {
 public:
  struct Contender {
    std::string name;
    std::function<void()> run;
  };
  struct Result {
    std::vector<double> seconds;  // median per call, one per contender
    std::vector<double> ratio;    // median over rounds of (contender's time / first contender's time)
    double others;                // see Quiet
    bool quiet() const { return others <= Quiet::kLimit; }
  };
  static Result run(const std::vector<Contender>& contenders, const Options& options, bool pause_between);
};

double median(std::vector<double> v);

// "1.23" and "123%", or "noisy" when others took too much.
std::string ratio_text(double ratio, bool quiet);
std::string share_text(double share, bool quiet);

// What is asked of a ratio.
struct Bar {
  enum Side { kAtLeast, kAtMost } side;
  double wanted;
};
// "0.95 >= 0.80 ok", "0.72 >= 0.80 NO" or "noisy"; `row` names the figure in the closing table.
std::string judge(const std::string& row, double ratio, Bar bar, bool quiet);
void print_bars();  // the closing table; nothing where nothing was judged

// n floats in [-1, 1), 64-byte aligned, on huge pages where the kernel gives them.
struct AlignedFree {
  void operator()(void* p) const;
};
using FloatBuffer = std::unique_ptr<float[], AlignedFree>;
FloatBuffer random_floats(size_t n, unsigned seed);

}  // namespace fulmen::bench
