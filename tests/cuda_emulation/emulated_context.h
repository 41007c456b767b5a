#pragma once
// A Context whose kernels are those of kernels/cuda, run by the emulation. One at a time.

#include <memory>

#include "kernels/context.h"
#include "kernels/cuda/state.h"

namespace fulmen::kernels {

class EmulatedDevice {
 public:
  explicit EmulatedDevice(ThreadPool& pool);
  Context& context() { return ctx_; }

 private:
  std::unique_ptr<cuda::State> state_;
  Context ctx_;
};

}  // namespace fulmen::kernels
