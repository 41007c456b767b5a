// fulmen-bench [TABLE ...] [--quick] [--threads 1,2] [--filter TEXT] [--seconds S]: prints the tables, all of them by
// default, and which bars were reached.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "shared/base/config.h"
#include "shared/base/program.h"
#include "tests/bench/bench.h"
#include "tests/bench/limits.h"
#include "tests/bench/progress.h"

namespace fulmen::bench {
namespace {

constexpr double kQuickSeconds = 0.08;

// Throws ConfigError at a name that no table has.
std::vector<TableEntry> choose(const std::vector<std::string>& wanted) {
  std::set<std::string> names;
  for (const TableEntry& t : tables()) names.insert(t.name);
  std::string all;
  for (const std::string& name : names) all.append(" ").append(name);
  for (const std::string& name : wanted)
    if (!names.contains(name))
      throw base::ConfigError(std::string("no table ").append(name).append(", there are:").append(all));
  std::vector<TableEntry> chosen;
  for (const TableEntry& t : tables()) {
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), t.name) != wanted.end()) chosen.push_back(t);
  }
  // Short ones first: forks of the sandbox's table would copy the page tables of what the large ones have touched.
  std::stable_sort(chosen.begin(), chosen.end(), [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
  return chosen;
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t at = line.find(": ");
    if (line.starts_with("model name") && at != std::string::npos) return line.substr(at + 2);
  }
  return "unnamed processor";
}

void print_machine(const Options& options) {
  std::printf("%s, %u cores, %s\n", processor_name().c_str(), std::thread::hardware_concurrency(),
              __builtin_cpu_supports("avx512f") ? "AVX-512" : "AVX2");
  for (int t : options.threads) {
    const Limits& l = limits(t);
    std::printf(
        "limits, %d thread%s: %.0f GFLOP/s fp32, read %.1f GB/s, read+write %.1f GB/s (others took %.0f %% of a "
        "core)\n",
        t, t == 1 ? "" : "s", l.fma_gflops, l.read_gbs, l.read_write_gbs, 100 * l.others);
  }
  std::printf(
      "Contenders are timed in turns; bounds and shares are of limits measured in this run. A figure with a bar reads\n"
      "\"1.03 >= 0.80 ok\" or \"0.72 >= 0.80 NO\"; \"others\" is what else ran meanwhile, as a share of a core.\n");
}

int print_tables(const Options& options, const std::vector<TableEntry>& chosen) {
  const double start = now_seconds();
  print_machine(options);
  std::vector<PlannedTable> plan;
  for (const TableEntry& t : chosen)
    plan.push_back({t.name, t.seconds * options.seconds_per_case / Options{}.seconds_per_case});
  if (options.filter.empty()) plan_progress(plan);  // what a filter leaves is not known
  for (size_t i = 0; i < chosen.size(); ++i) {
    std::printf("\n%s: %s\n", chosen[i].name, chosen[i].what);
    std::fflush(stdout);
    begin_table(i);
    chosen[i].run(options);
    clear_progress();
  }
  print_bars();
  std::printf("took %s\n", duration_text(now_seconds() - start).c_str());
  return 0;
}

}  // namespace
}  // namespace fulmen::bench

int main(int argc, char** argv) {
  using namespace fulmen;
  bench::Options options;
  std::vector<std::string> wanted;
  CLI::App app{"Speed of Fulmen against other libraries and against the limits of this machine", "fulmen bench"};
  app.add_option("tables", wanted, "tables to print (default: all)");
  app.add_option("--threads", options.threads, "thread counts, e.g. 1,2")->delimiter(',')->check(CLI::PositiveNumber);
  app.add_option("--filter", options.filter, "only rows whose name contains this");
  app.add_option("--seconds", options.seconds_per_case, "seconds of timing per contender and row");
  app.add_flag("--quick", options.quick, "all threads only, short timing, neither the largest products nor shape M");
  if (std::thread::hardware_concurrency() == 1) options.threads = {1};
  return base::run_program(app, argc, argv, [&] {
    if (options.quick) {
      if (app.count("--threads") == 0) options.threads = {options.threads.back()};
      if (app.count("--seconds") == 0) options.seconds_per_case = bench::kQuickSeconds;
    }
    return bench::print_tables(options, bench::choose(wanted));
  });
}
