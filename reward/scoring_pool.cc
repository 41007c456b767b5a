#include "reward/scoring_pool.h"

#include <fmt/core.h>

#include <chrono>

#include "kernels/error.h"
#include "shared/wire/socket.h"

namespace fulmen::reward {

ScoringPool::ScoringPool(Make make, int threads, size_t capacity) : capacity_(capacity) {
  FULMEN_CHECK(threads > 0 && capacity > 0,
               fmt::format("reward: got {} threads and a queue of {}, want at least 1 of each", threads, capacity));
  for (int t = 0; t < threads; ++t) threads_.emplace_back([this, make] { run(make); });
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [&] { return loaded_ == threads_.size() || failed_; });
  if (!failed_) return;
  stop_ = true;
  lock.unlock();
  wake_.notify_all();
  for (std::thread& t : threads_) t.join();
  std::rethrow_exception(failed_);
}

ScoringPool::~ScoringPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  room_.notify_all();
  for (std::thread& t : threads_) t.join();
  for (ScoringJob& job : queue_) job.done(make_verdict(Kind::kError, 0, "the service stopped before it was scored"));
}

bool ScoringPool::push(ScoringJob& job, int wait_ms) {
  std::vector<ScoringJob> one;
  one.push_back(std::move(job));
  const bool taken = push_all(one, wait_ms);
  if (!taken) job = std::move(one[0]);
  return taken;
}

// A batch larger than the whole queue goes in when the queue is empty, so that it is never stuck.
bool ScoringPool::push_all(std::vector<ScoringJob>& jobs, int wait_ms) {
  {
    std::unique_lock lock(mutex_);
    const auto fits = [&] { return stop_ || queue_.empty() || queue_.size() + jobs.size() <= capacity_; };
    if (!room_.wait_for(lock, std::chrono::milliseconds(wait_ms), fits) || stop_) return false;
    for (ScoringJob& job : jobs) queue_.push_back(std::move(job));
  }
  if (jobs.size() == 1) {
    wake_.notify_one();
  } else {
    wake_.notify_all();
  }
  return true;
}

void ScoringPool::count(size_t& running, size_t& queued) {
  std::lock_guard lock(mutex_);
  running = running_;
  queued = queue_.size();
}

void ScoringPool::run(const Make& make) {
  std::unique_ptr<Function> function;
  try {
    function = make();
  } catch (...) {
    std::lock_guard lock(mutex_);
    failed_ = std::current_exception();
    ready_.notify_all();
    return;
  }
  std::unique_lock lock(mutex_);
  version_ = function->version();
  ++loaded_;
  ready_.notify_all();
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    // No more than a fair share, so that the other threads have work too.
    const size_t share = (queue_.size() + threads_.size() - 1) / threads_.size();
    std::vector<ScoringJob> jobs;
    for (size_t n = std::min(function->batch(), share); n > 0; --n) {
      jobs.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    running_ += jobs.size();
    lock.unlock();
    room_.notify_all();
    score(*function, jobs);
    lock.lock();
    running_ -= jobs.size();
  }
}

void ScoringPool::score(Function& function, std::vector<ScoringJob>& jobs) {
  std::vector<Record> records;
  std::vector<size_t> at;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].unix_deadline_ms > 0 && wire::unix_ms() >= jobs[i].unix_deadline_ms) {
      jobs[i].done(make_verdict(Kind::kTimeout, 0, "the deadline passed while the request was queued"));
    } else {
      records.push_back(std::move(jobs[i].record));
      at.push_back(i);
    }
  }
  if (records.empty()) return;
  std::vector<Verdict> verdicts;
  try {
    verdicts = function.score_all(records);
    FULMEN_CHECK(verdicts.size() == records.size(),
                 fmt::format("{} verdicts for {} records", verdicts.size(), records.size()));
  } catch (const std::exception& e) {
    verdicts.assign(records.size(), make_verdict(Kind::kError, 0, e.what()));
  }
  for (size_t k = 0; k < at.size(); ++k) jobs[at[k]].done(std::move(verdicts[k]));
}

}  // namespace fulmen::reward
