#pragma once
// The device that the tests of kernels/cuda run on. This one is the emulation; tests/gpu has a header of the same name
// for a GPU. Kernels here are done when their call returns, and take pointers to the host's memory as well.

#include <memory>

#include "kernels/context.h"
#include "kernels/cuda/state.h"

namespace fulmen::kernels {

class TestDevice {
 public:
  explicit TestDevice(ThreadPool& pool);
  Context& context() { return ctx_; }
  static void set_reverse(bool reverse);  // threads in descending order
  bool admits_wgmma() const { return true; }
  static constexpr bool kSmall = true;  // shapes: every instruction is C++ here

 private:
  std::unique_ptr<cuda::State> state_;
  Context ctx_;
};

}  // namespace fulmen::kernels
