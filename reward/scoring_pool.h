#pragma once
// Threads that score, behind one bounded queue. A full queue is felt by the pusher (back-pressure) and loses nothing:
// what was taken in gets exactly one verdict.

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "reward/reward.h"

namespace fulmen::reward {

struct ScoringJob {
  Record record;
  int64_t unix_deadline_ms = 0;       // passed while queued: a timeout verdict; 0 = none
  std::function<void(Verdict)> done;  // called once, by a scoring thread
};

class ScoringPool {
 public:
  using Make = std::function<std::unique_ptr<Function>()>;

  // make() is called by each thread. Throws what it throws.
  ScoringPool(Make make, int threads, size_t capacity);
  // Finishes the running calls, which have their deadlines; jobs still queued get an error verdict.
  ~ScoringPool();

  bool push(ScoringJob& job, int wait_ms);  // false, and `job` untouched, when the queue is full for so long
  bool push_all(std::vector<ScoringJob>& jobs, int wait_ms);  // all or none
  void count(size_t& running, size_t& queued);
  size_t capacity() const { return capacity_; }
  const std::string& version() const { return version_; }

 private:
  void run(const Make& make);
  void score(Function& function, std::vector<ScoringJob>& jobs);

  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable wake_, room_, ready_;
  std::deque<ScoringJob> queue_;
  size_t running_ = 0, loaded_ = 0;
  std::string version_;
  std::exception_ptr failed_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fulmen::reward
