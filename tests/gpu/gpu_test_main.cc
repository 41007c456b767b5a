// Runs the tests of kernels/cuda on the GPU of this machine and keeps one JSON object with a result for each, whole
// after every test. A test that hangs or breaks the device costs itself only (watched_cases.h).
// usage: gpu_test [--here] [JSON [SECONDS [PART_OF_A_NAME...]]]: only tests whose SUITE.NAME has one of the parts; none
// is begun after so many seconds, which the JSON then says. --here: in this process, for compute-sanitizer.

#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>

#include "cuda_test_device.h"
#include "gtest/gtest.h"
#include "kernels/device.h"
#include "watched_cases.h"

void share_memory_with_the_device();

namespace {

using fulmen::gpu::End;
using Clock = std::chrono::steady_clock;

constexpr double kSecondsEach = 45;  // the slowest takes a few

std::string name_of(size_t number) {
  const auto& c = testing::cases()[number];
  return std::string(c.suite) + "." + c.name;
}

// Of the machine, as the JSON begins; exits with 77 when there is no use.
std::string prepare() {
  setenv("CUDA_LAUNCH_BLOCKING", "1", 1);  // the tests read what kernels wrote with no call between
  const auto facts = fulmen::kernels::examine_gpu();
  if (!facts.usable) {
    std::cerr << "gpu_test: " << facts.text << std::endl;
    std::_Exit(77);
  }
  fulmen::kernels::ThreadPool pool(1);
  const bool wgmma = fulmen::kernels::TestDevice(pool).admits_wgmma();
  share_memory_with_the_device();
  return "{\"device\": \"" + facts.text + "\", \"wgmma_admitted\": " + (wgmma ? "true" : "false") + ", ";
}

// Runs it; what it throws is a failure.
End run(size_t number) {
  testing::failures = 0;
  try {
    testing::cases()[number].run();
  } catch (const std::exception& e) {
    testing::Report(name_of(number).c_str(), 0, e.what());
  }
  if (testing::failures == 0) return End::kPassed;
  return cudaDeviceSynchronize() == cudaSuccess ? End::kFailed : End::kBroken;
}

class Results {
 public:
  explicit Results(std::string path) : path_(std::move(path)) {}
  void begin(const std::string& head) {
    head_ = head;
    std::cout << head << std::endl;
    write();
  }
  void add(const fulmen::gpu::CaseResult& r) {
    if (r.end == End::kLeftOut) {
      ++left_out_;
      return write();
    }
    const bool passed = r.end == End::kPassed;
    std::cout << (passed ? "ok    " : "FAIL  ") << name_of(r.number) << "  " << r.seconds << " s  " << r.why
              << std::endl;
    body_ += (ran_++ > 0 ? ",\n  \"" : "\n  \"") + name_of(r.number) +
             "\": {\"passed\": " + (passed ? "true" : "false") + ", \"seconds\": " + std::to_string(r.seconds) +
             (r.why.empty() ? "" : ", \"why\": \"" + r.why + "\"") + "}";
    failed_ += passed ? 0 : 1;
    write();
  }
  int failed() const { return failed_; }

 private:
  void write() const {
    if (path_.empty()) return;
    const std::string beside = path_ + ".new";
    std::ofstream(beside) << head_ << "\"tests\": {" << body_ << "\n}, \"ran\": " << ran_ << ", \"failed\": " << failed_
                          << ", \"left_out_for_time\": " << left_out_ << "}\n";
    std::rename(beside.c_str(), path_.c_str());
  }

  std::string path_, head_, body_;
  int ran_ = 0, failed_ = 0, left_out_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const bool here = argc > 1 && std::string(argv[1]) == "--here";
  const std::vector<std::string> arguments(argv + (here ? 2 : 1), argv + argc);
  const auto begin = Clock::now();
  const double limit = arguments.size() > 1 ? std::atof(arguments[1].c_str()) : 1e9;
  std::vector<size_t> numbers;
  for (size_t i = 0; i < testing::cases().size(); ++i) {
    bool wanted = arguments.size() <= 2;
    for (size_t a = 2; a < arguments.size(); ++a) wanted = wanted || name_of(i).find(arguments[a]) != std::string::npos;
    if (wanted) numbers.push_back(i);
  }
  const auto run_in_time = [&](size_t number) {
    return std::chrono::duration<double>(Clock::now() - begin).count() > limit ? End::kLeftOut : run(number);
  };
  Results results(arguments.empty() ? "" : arguments[0]);
  if (here) {
    results.begin(prepare());
    for (const size_t number : numbers) {
      const auto start = Clock::now();
      const End end = run_in_time(number);
      results.add({number, end, std::chrono::duration<double>(Clock::now() - start).count(), ""});
    }
    std::cout.flush();
    std::_Exit(results.failed() > 0 ? 1
                                    : 0);  // destructors of statics would touch shared memory after the driver has gone
  }
  const int code = fulmen::gpu::run_watched(numbers, {.prepare = prepare,
                                                      .run = run_in_time,
                                                      .prepared = [&](const std::string& head) { results.begin(head); },
                                                      .done = [&](const fulmen::gpu::CaseResult& r) { results.add(r); },
                                                      .seconds_each = kSecondsEach});
  return code != 0 ? code : results.failed() > 0 ? 1 : 0;
}
