#include "tests/cuda_emulation/emulated_context.h"

#include "kernels/cuda/table.h"

namespace fulmen::kernels {

EmulatedDevice::EmulatedDevice(ThreadPool& pool) : state_(std::make_unique<cuda::State>(0)) {
  static const KernelTable table = cuda::make_table("cuda-emulated");
  ctx_ = {&table, &pool, state_.get()};
}

}  // namespace fulmen::kernels
