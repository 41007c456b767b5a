// fulmen-selftest: may this machine be trusted with the contract of equal bits? Exit code 0 if every check holds.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <thread>

#include "kernels/context.h"
#include "kernels/error.h"
#include "kernels/table.h"
#include "shared/model/selftest.h"

namespace {

using fulmen::model::SelfCheck;

constexpr char kUsage[] =
    "usage: fulmen selftest [--threads N]\n"
    "Bitwise and gradient checks of the kernels and the model on this machine; no data needed.\n"
    "  --threads N   threads of the threaded side (default: all cores, at least 2)\n";

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

int threads_from(int argc, char** argv) {
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--threads") != 0 || i + 1 == argc)
      throw fulmen::Error("selftest: got argument " + std::string(argv[i]) + "\n" + kUsage);
    char* end = nullptr;
    const long n = std::strtol(argv[++i], &end, 10);
    if (*end != 0 || n < 1 || n > 1024)
      throw fulmen::Error("selftest: --threads is " + std::string(argv[i]) + ", want 1 to 1024");
    return static_cast<int>(n);
  }
  return threads < 2 ? 2 : threads;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc > 1 && (std::strcmp(argv[1], "--help") == 0 || std::strcmp(argv[1], "-h") == 0)) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  const int threads = threads_from(argc, argv);
  {
    fulmen::kernels::ThreadPool pool(1);
    std::printf("kernels %s, %d threads\n\n", fulmen::kernels::cpu_context(pool).table->name, threads);
  }
  const auto begin = std::chrono::steady_clock::now();
  int failed = 0, skipped = 0;
  const auto checks = fulmen::model::run_selftest(threads, print);
  for (const SelfCheck& c : checks) {
    failed += !c.ok();
    skipped += !c.skipped.empty();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("\n%zu checks, %d failed, %d skipped, %.1f s\n", checks.size(), failed, skipped, seconds);
  return failed == 0 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "fulmen-selftest: %s\n", e.what());
  return 2;
}
