// fulmen-selftest: may this machine be trusted with the contract of equal bits? Exit code 0 if every check holds.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "kernels/context.h"
#include "kernels/table.h"
#include "shared/base/program.h"
#include "shared/model/selftest.h"

namespace {

using namespace fulmen;
using model::SelfCheck;

void print(const SelfCheck& c) {
  if (!c.skipped.empty()) {
    std::printf("SKIP  %-52s %s\n", c.name.c_str(), c.skipped.c_str());
  } else if (c.kind == SelfCheck::Kind::kBelow) {
    std::printf("%-4s  %-52s %lld of %lld tensors off; largest error %.1e, limit %.0e\n", c.ok() ? "OK" : "FAIL",
                c.name.c_str(), static_cast<long long>(c.differ), static_cast<long long>(c.compared), c.largest,
                c.limit);
  } else {
    std::printf("%-4s  %-52s %lld of %lld values differ%s", c.ok() ? "OK" : "FAIL", c.name.c_str(),
                static_cast<long long>(c.differ), static_cast<long long>(c.compared),
                c.kind == SelfCheck::Kind::kMustDiffer ? ", as they must" : "");
    if (c.differ > 0) std::printf(" (largest %.1e)", c.largest);
    std::printf("\n");
  }
  std::fflush(stdout);
}

int check_machine(int threads) {
  {
    kernels::ThreadPool pool(1);
    std::printf("kernels %s, %d threads\n\n", kernels::cpu_context(pool).table->name, threads);
  }
  const auto begin = std::chrono::steady_clock::now();
  int failed = 0, skipped = 0;
  const auto checks = model::run_selftest(threads, print);
  for (const SelfCheck& c : checks) {
    failed += !c.ok();
    skipped += !c.skipped.empty();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("\n%zu checks, %d failed, %d skipped, %.1f s\n", checks.size(), failed, skipped, seconds);
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Bitwise and gradient checks of the kernels and the model on this machine; no data needed",
               "fulmen selftest"};
  int threads = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
  app.add_option("--threads", threads, "threads of the threaded side (default: all cores, at least 2)")
      ->check(CLI::Range(1, 1024));
  return base::run_program(app, argc, argv, [&] { return check_machine(threads); });
}
