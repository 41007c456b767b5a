// fulmen-bench [TABLE ...] [--quick] [--threads 1,2] [--filter TEXT] [--seconds S]: prints the tables, all of them by
// default, and which bars were reached.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "shared/base/config.h"
#include "shared/base/program.h"
#include "tests/bench/bench.h"
#include "tests/bench/limits.h"

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
  return chosen;
}

void print_limits(const std::vector<int>& threads) {
  for (int t : threads) {
    const Limits& l = limits(t);
    std::printf(
        "limits, %d thread%s: %.0f GFLOP/s fp32, read %.1f GB/s, read+write %.1f GB/s (others took %.0f %% of a "
        "core)\n",
        t, t == 1 ? "" : "s", l.fma_gflops, l.read_gbs, l.read_write_gbs, 100 * l.others);
  }
}

int print_tables(const Options& options, const std::vector<TableEntry>& chosen) {
  print_limits(options.threads);
  for (size_t i = 0; i < chosen.size(); ++i) {
    double left = 0;
    for (size_t j = i; j < chosen.size(); ++j) left += chosen[j].seconds;
    if (options.filter.empty())
      std::fprintf(stderr, "table %zu of %zu, about %.0f s left\n", i + 1, chosen.size(),
                   left * options.seconds_per_case / Options{}.seconds_per_case);
    std::printf("\n%s: %s\n", chosen[i].name, chosen[i].what);
    std::fflush(stdout);
    chosen[i].run(options);
  }
  print_bars();
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
  return base::run_program(app, argc, argv, [&] {
    if (options.quick) {
      if (app.count("--threads") == 0) options.threads = {options.threads.back()};
      if (app.count("--seconds") == 0) options.seconds_per_case = bench::kQuickSeconds;
    }
    return bench::print_tables(options, bench::choose(wanted));
  });
}
