// Runs the tests of kernels/cuda on the GPU of this machine and writes one JSON object with a result for each.

#include <chrono>
#include <exception>
#include <fstream>
#include <iostream>

#include "gtest/gtest.h"
#include "kernels/device.h"

void share_memory_with_the_device();

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  const auto facts = fulmen::kernels::examine_gpu();
  if (!facts.usable) {
    std::cerr << "gpu_test: " << facts.text << "\n";
    return 77;
  }
  share_memory_with_the_device();
  std::ofstream json(argc > 1 ? argv[1] : "/dev/null");
  json << "{\"device\": \"" << facts.text << "\", \"tests\": {";
  int failed = 0;
  const char* comma = "";
  for (const auto& c : testing::cases()) {
    testing::failures = 0;
    const auto begin = Clock::now();
    try {
      c.run();
    } catch (const std::exception& e) {
      testing::Report(c.suite, 0, e.what());
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    std::cout << (testing::failures == 0 ? "ok    " : "FAIL  ") << c.suite << "." << c.name << "  " << seconds
              << " s\n";
    json << comma << "\n  \"" << c.suite << "." << c.name
         << "\": {\"passed\": " << (testing::failures == 0 ? "true" : "false") << ", \"seconds\": " << seconds << "}";
    comma = ",";
    failed += testing::failures > 0;
  }
  json << "\n}, \"failed\": " << failed << "}\n";
  return failed > 0 ? 1 : 0;
}
