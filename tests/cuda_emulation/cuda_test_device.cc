#include "cuda_test_device.h"

#include "kernels/cuda/table.h"

namespace fulmen::kernels {

TestDevice::TestDevice(ThreadPool& pool) : state_(std::make_unique<cuda::State>(0)) {
  static const KernelTable table = cuda::make_table("cuda-emulated");
  ctx_ = {&table, &pool, state_.get()};
}

void TestDevice::set_reverse(bool reverse) { emulation::set_reverse(reverse); }

}  // namespace fulmen::kernels
