#include "kernels/thread_pool.h"

#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "kernels/error.h"
#include "kernels/shared_range.h"

namespace fulmen::kernels {
namespace {

constexpr auto kSpin = std::chrono::microseconds(30);
constexpr size_t kAlign = 64;

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

struct alignas(kAlign) Scratch {
  std::unique_ptr<void, FreeDeleter> data;
  size_t bytes = 0;
};

// Returns once `value` no longer equals `old`: spins for kSpin, then sleeps on the futex of the atomic. `slept` tells.
uint32_t wait_for_change(const std::atomic<uint32_t>& value, uint32_t old, bool* slept = nullptr) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      const uint32_t now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      _mm_pause();
    }
    if (std::chrono::steady_clock::now() - start > kSpin) break;
  }
  if (slept != nullptr) *slept = true;
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

// Moves the calling thread off processor `cpu` if it is there and may run elsewhere. Linux likes to wake a worker where
// its waker runs; the two then take turns on one processor, each spinning in vain while the other waits, and both stay
// too warm to be moved: fifty times slower, for seconds. The thread's mask is left as it was.
void leave_processor(int cpu) {
  if (cpu < 0 || sched_getcpu() != cpu) return;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  cpu_set_t others = allowed;
  CPU_CLR(cpu, &others);
  if (sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
}

}  // namespace

void set_float_environment() { _mm_setcsr((_mm_getcsr() & ~0x6000u) | 0x8040u); }

struct ThreadPool::State {
  explicit State(int n) : scratch(static_cast<size_t>(n)) {}

  std::vector<Scratch> scratch;
  std::vector<std::thread> workers;
  const std::function<void(int)>* fn = nullptr;  // of the run in progress; published by `generation`
  int caller_cpu = -1;                           // where run was called; published like fn
  bool stop = false;
  std::atomic<bool> busy{false};
  alignas(kAlign) std::atomic<uint32_t> generation{0};
  alignas(kAlign) std::atomic<uint32_t> running{0};  // workers that have not finished the current generation

  void publish() {
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
  }

  void work(int thread_idx) {
    set_float_environment();
    for (uint32_t seen = 0;;) {
      bool slept = false;
      seen = wait_for_change(generation, seen, &slept);
      if (stop) return;
      if (slept) leave_processor(caller_cpu);
      (*fn)(thread_idx);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) running.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int num_threads) {
  FULMEN_CHECK(num_threads >= 1, "ThreadPool: num_threads is " + std::to_string(num_threads) + ", want >= 1");
  set_float_environment();
  state_ = std::make_unique<State>(num_threads);
  State* s = state_.get();
  for (int i = 1; i < num_threads; ++i) s->workers.emplace_back([s, i] { s->work(i); });
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->publish();
  for (std::thread& w : state_->workers) w.join();
}

int ThreadPool::size() const { return static_cast<int>(state_->scratch.size()); }

void ThreadPool::run(const std::function<void(int)>& fn) {
  State& s = *state_;
  FULMEN_CHECK(!s.busy.exchange(true, std::memory_order_acquire),
               "ThreadPool::run: called while another run is in progress; one caller at a time, not nested");
  if (!s.workers.empty()) {
    s.fn = &fn;
    s.caller_cpu = sched_getcpu();
    s.running.store(static_cast<uint32_t>(s.workers.size()), std::memory_order_relaxed);
    s.publish();
  }
  fn(0);
  for (uint32_t left; (left = s.running.load(std::memory_order_acquire)) != 0;) wait_for_change(s.running, left);
  s.busy.store(false, std::memory_order_release);
}

void ThreadPool::parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t, int)>& fn) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  if (n <= grain || state_->workers.empty()) {
    fn(0, n, 0);
    return;
  }
  SharedRange pieces((n + grain - 1) / grain, size());
  run([&](int thread_idx) {
    for (int64_t piece; (piece = pieces.take(thread_idx)) >= 0;)
      fn(piece * grain, std::min(n, (piece + 1) * grain), thread_idx);
  });
}

void* ThreadPool::scratch(int thread_idx, size_t bytes) {
  Scratch& s = state_->scratch.at(static_cast<size_t>(thread_idx));
  if (bytes > s.bytes || !s.data) {
    const size_t want = (bytes + bytes / 4 + 4096) / kAlign * kAlign;
    s.data.reset();  // first, so that the old and the new block never exist together
    s.bytes = 0;
    s.data.reset(std::aligned_alloc(kAlign, want));
    FULMEN_CHECK(s.data, "ThreadPool::scratch: out of memory, want " + std::to_string(want) + " bytes");
    s.bytes = want;
  }
  return s.data.get();
}

}  // namespace fulmen::kernels
