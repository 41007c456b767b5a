#pragma once
// The device that the tests of kernels/cuda run on: here a GPU, through the plug-in. The tests hand host pointers to
// kernels; run.sh makes every `new` managed memory (managed_memory.cc) and every launch wait (CUDA_LAUNCH_BLOCKING).

#include "kernels/device.h"

namespace fulmen::kernels {

class TestDevice {
 public:
  explicit TestDevice(ThreadPool& pool) : device_("cuda", pool) {}
  Context& context() { return device_.context(); }
  static void set_reverse(bool) {}  // a GPU has an order of its own

 private:
  Device device_;
};

}  // namespace fulmen::kernels
