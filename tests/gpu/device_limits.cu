#include <chrono>

#include "kernels/cuda/device.cuh"
#include "tests/gpu/device_limits.h"

namespace {

constexpr int kSteps = 4096, kChains = 8, kThreads = 256;

__global__ void mma_kernel(float* out) {
  float sum[kChains][4] = {};
  const uint32_t a[4] = {threadIdx.x, 1, 2, 3}, b[2] = {threadIdx.x, 5};
  for (int i = 0; i < kSteps; ++i) {
#pragma unroll
    for (int c = 0; c < kChains; ++c) fulmen::kernels::cuda::mma_bf16(sum[c], a, b);
  }
  float total = 0;
  for (int c = 0; c < kChains; ++c) total += sum[c][0] + sum[c][1] + sum[c][2] + sum[c][3];
  if (total == 12345.0f) *out = total;  // keeps the work
}

}  // namespace

double measure_mma_rate() {
  int processors = 0;
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0);
  float* out = nullptr;
  if (cudaMalloc(&out, 4) != cudaSuccess) return 1;
  const unsigned blocks = static_cast<unsigned>(processors) * 8;
  double best = 1;
  for (int i = 0; i < 5; ++i) {
    cudaDeviceSynchronize();
    const auto begin = std::chrono::steady_clock::now();
    mma_kernel<<<blocks, kThreads>>>(out);
    cudaDeviceSynchronize();
    const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const double rate = 2.0 * 16 * 8 * 16 * kChains * kSteps * (kThreads / 32) * blocks / s;
    if (rate > best) best = rate;
  }
  cudaFree(out);
  return best;
}
