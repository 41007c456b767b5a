#pragma once
// Persistent workers for CPU kernels. Splitting work over threads never changes a bit of a result (numerics contract 3.1).
//
// Workers spin for some tens of microseconds, then sleep on a futex: two roles that share two cores must not burn each
// other's time. Every worker, and the thread that constructs the pool, runs with FTZ|DAZ set (denormals cost factors and
// would make bits depend on the thread otherwise); call set_float_environment() in any other thread that calls kernels.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace fulmen::kernels {

void set_float_environment();  // flush denormals to zero, round to nearest, in the calling thread

class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);  // >= 1; the caller is thread 0, num_threads - 1 workers are started
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Runs fn(thread_idx) once on each thread, thread 0 being the caller; returns when all are done. Not reentrant; one
  // caller at a time. fn must not throw.
  void run(const std::function<void(int)>& fn);

  // fn(begin, end, thread_idx) over [0, n) in dynamic pieces of `grain`; for n <= grain runs in the caller alone.
  void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t, int)>& fn);

  // Scratch of thread `thread_idx`, 64-byte aligned, at least `bytes`, uninitialised; contents last until the next call
  // for that thread. Grows and never shrinks: no allocation after the first step.
  void* scratch(int thread_idx, size_t bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fulmen::kernels
