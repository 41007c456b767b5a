// Runs the tests of kernels/cuda on the GPU of this machine and writes one JSON object with a result for each.
// usage: gpu_test [JSON [SECONDS [PART_OF_A_NAME...]]]: only tests whose SUITE.NAME has one of the parts; none is begun
// after so many seconds, which the JSON then says.

#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>

#include "cuda_test_device.h"
#include "gtest/gtest.h"
#include "kernels/device.h"

void share_memory_with_the_device();

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

bool wanted(const std::string& name, int argc, char** argv) {
  if (argc <= 3) return true;
  for (int i = 3; i < argc; ++i)
    if (name.find(argv[i]) != std::string::npos) return true;
  return false;
}

// Runs it; what it throws is a failure.
bool passes(const testing::Case& c) {
  testing::failures = 0;
  try {
    c.run();
  } catch (const std::exception& e) {
    testing::Report(c.suite, 0, e.what());
  }
  return testing::failures == 0;
}

bool admits_wgmma() {
  fulmen::kernels::ThreadPool pool(1);
  return fulmen::kernels::TestDevice(pool).admits_wgmma();
}

// Writes the JSON but for its last brace. Returns how many failed.
int run_all(std::ostream& json, double limit, int argc, char** argv) {
  const auto begin = Clock::now();
  int ran = 0, failed = 0, left_out = 0;
  json << "\"tests\": {";
  for (const auto& c : testing::cases()) {
    const std::string name = std::string(c.suite) + "." + c.name;
    if (!wanted(name, argc, argv)) continue;
    if (seconds_since(begin) > limit) {
      ++left_out;
      continue;
    }
    const auto start = Clock::now();
    const bool passed = passes(c);
    std::cout << (passed ? "ok    " : "FAIL  ") << name << "  " << seconds_since(start) << " s" << std::endl;
    json << (ran++ > 0 ? ",\n  \"" : "\n  \"") << name << "\": {\"passed\": " << (passed ? "true" : "false")
         << ", \"seconds\": " << seconds_since(start) << "}";
    failed += passed ? 0 : 1;
  }
  json << "\n}, \"ran\": " << ran << ", \"failed\": " << failed << ", \"left_out_for_time\": " << left_out;
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  setenv("CUDA_LAUNCH_BLOCKING", "1", 1);  // the tests read what kernels wrote with no call between
  const auto facts = fulmen::kernels::examine_gpu();
  if (!facts.usable) {
    std::cerr << "gpu_test: " << facts.text << "\n";
    return 77;
  }
  int failed = 1;
  {
    std::ofstream json(argc > 1 ? argv[1] : "/dev/null");
    try {
      const bool wgmma = admits_wgmma();
      std::cout << facts.text << "; wgmma: " << (wgmma ? "the bits of mma.sync, admitted" : "not admitted")
                << std::endl;
      json << "{\"device\": \"" << facts.text << "\", \"wgmma_admitted\": " << (wgmma ? "true" : "false") << ", ";
      share_memory_with_the_device();
      failed = run_all(json, argc > 2 ? std::atof(argv[2]) : 1e9, argc, argv);
      json << "}\n";
    } catch (const std::exception& e) {
      std::cerr << "FAIL  " << e.what() << std::endl;
    }
  }
  std::cout.flush();
  std::_Exit(failed > 0 ? 1 : 0);  // destructors of statics would touch shared memory after the driver has gone
}
