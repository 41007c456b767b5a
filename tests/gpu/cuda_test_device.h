#pragma once
// The device that the tests of kernels/cuda run on: here a GPU. The tests hand host pointers to kernels; gpu_test makes
// every `new` memory that both sides see (managed_memory.cc) and every launch wait (CUDA_LAUNCH_BLOCKING).

#include "kernels/context.h"
#include "kernels/cuda/state.h"

namespace fulmen::kernels {

class TestDevice {
 public:
  explicit TestDevice(ThreadPool& pool);
  Context& context() { return ctx_; }
  static void set_reverse(bool) {}  // a GPU has an order of its own
  bool admits_wgmma() const { return admits_wgmma_; }
  static constexpr bool kSmall = false;  // shapes

 private:
  cuda::State state_{0};
  Context ctx_;
  bool admits_wgmma_ = false;
};

}  // namespace fulmen::kernels
