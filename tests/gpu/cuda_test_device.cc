#include "cuda_test_device.h"

#include "kernels/cuda/product_wgmma.h"
#include "kernels/cuda/table.h"

namespace fulmen::kernels {

TestDevice::TestDevice(ThreadPool& pool) {
  static const KernelTable table = cuda::make_table("cuda");
  ctx_ = {&table, &pool, &state_};
  int major = 0;
  cuda::check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "cudaDeviceGetAttribute");
  cuda::admit_wgmma(state_, major == 9);
  admits_wgmma_ = state_.wgmma_admitted();
}

}  // namespace fulmen::kernels
