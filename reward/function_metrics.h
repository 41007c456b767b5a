#pragma once
// What each function of this process did: verdicts by kind, cache hits, and a histogram of its latency. Thread-safe.

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "reward/reward.h"

namespace fulmen::reward {

class FunctionMetrics {
 public:
  static constexpr std::array<double, 16> kSeconds{1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03,
                                                   0.1,  0.3,  1,    3,    10,   30,   100,  300};

  void add(const Verdict& v, double seconds);
  void add_cache_hit() { cache_hits_.fetch_add(1, std::memory_order_relaxed); }
  void print(const std::string& function, std::string& out) const;  // samples without HELP and TYPE
  uint64_t count() const;

 private:
  std::array<std::atomic<uint64_t>, 5> kinds_{};
  std::array<std::atomic<uint64_t>, kSeconds.size() + 1> buckets_{};  // each alone; added up when printed
  std::atomic<uint64_t> cache_hits_{0}, nanoseconds_{0};
};

class MetricsBook {
 public:
  FunctionMetrics& of(const std::string& function);  // lives as long as this
  std::string prometheus() const;                    // text exposition format 0.0.4

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<FunctionMetrics>> functions_;
};

}  // namespace fulmen::reward
