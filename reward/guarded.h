#pragma once
// What stands between a service and each of its functions: the result cache, a limit on how many calls go on at once,
// and the measurements. Instances are shared by the threads of a process, so that a function with a process of its own
// has as many processes as calls go on, and no more than its `concurrency`.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "reward/function_metrics.h"
#include "reward/result_cache.h"
#include "reward/reward.h"

namespace fulmen::reward {

// The instances of one function. Thread-safe.
class Instances {
 public:
  using Make = std::function<std::unique_ptr<Function>()>;

  Instances(Make make, int limit);  // makes the first, so that what does not load is known at once
  // nullptr when all are in use until `deadline`. What making another one throws is passed on.
  std::unique_ptr<Function> take(std::chrono::steady_clock::time_point deadline);
  void give_back(std::unique_ptr<Function> function);

 private:
  const Make make_;
  const int limit_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<std::unique_ptr<Function>> idle_;
  int made_ = 0;
};

// Of one process.
class Shared {
 public:
  explicit Shared(size_t cached_verdicts) : cache(cached_verdicts) {}

  ResultCache cache;
  MetricsBook metrics;
  // The same spec gives the same instances.
  std::shared_ptr<Instances> instances(const std::string& spec, const Instances::Make& make, int limit);

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Instances>> instances_;
};

// wait_ms: how long a call may wait for a free instance; then it is a timeout verdict.
std::unique_ptr<Function> make_guarded(std::shared_ptr<Shared> shared, std::shared_ptr<Instances> instances,
                                       int wait_ms);

}  // namespace fulmen::reward
