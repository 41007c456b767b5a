#include <chrono>

#include "kernels/cuda/hopper.cuh"
#include "tests/gpu/device_limits.h"

namespace {

using namespace fulmen::kernels::cuda;

constexpr int kSteps = 4096, kChains = 8, kThreads = 256;

__global__ void mma_kernel(float* out) {
  float sum[kChains][4] = {};
  const uint32_t a[4] = {threadIdx.x, 1, 2, 3}, b[2] = {threadIdx.x, 5};
  for (int i = 0; i < kSteps; ++i) {
#pragma unroll
    for (int c = 0; c < kChains; ++c) mma_bf16(sum[c], a, b);
  }
  float total = 0;
  for (int c = 0; c < kChains; ++c) total += sum[c][0] + sum[c][1] + sum[c][2] + sum[c][3];
  if (total == 12345.0f) *out = total;  // keeps the work
}

// Two warpgroups, each 64 x 256 of sums; a stands in 8 KB each, b in 32 KB, 64 of k.
constexpr int kWgmmaSteps = 1024, kWgmmaBytes = 48 * 1024;

__global__ void __launch_bounds__(kThreads, 1) wgmma_rate_kernel(float* out) {
  const uint32_t skip = (1024 - shared_address(shared_bytes()) % 1024) % 1024;
  auto* words = reinterpret_cast<uint32_t*>(shared_bytes() + skip);
  for (uint32_t i = threadIdx.x; i < kWgmmaBytes / 4; i += kThreads) {  // +-1.x: the units draw what real data draw
    const uint32_t r = i * 2654435761u;
    words[i] = 0x3f803f80u | (r & 0x807f807fu);
  }
  FULMEN_HOPPER(asm volatile("fence.proxy.async.shared::cta;" ::: "memory");)
  __syncthreads();
  const uint32_t b = shared_address(words), a = b + 32 * 1024 + threadIdx.x / 128 * 8 * 1024;
  float sum[128];
  FULMEN_UNROLL
  for (int i = 0; i < 128; ++i) sum[i] = 0;
  for (int i = 0; i < kWgmmaSteps; ++i) {
    wgmma_fence();
    FULMEN_UNROLL
    for (uint32_t k = 0; k < 4; ++k)
      wgmma<0, 0>(sum, operand_descriptor(a + 32 * k, 16), operand_descriptor(b + 32 * k, 16));
    wgmma_close();
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  wgmma_sums_ready(sum);
  float total = 0;
  FULMEN_UNROLL
  for (int i = 0; i < 128; ++i) total += sum[i];
  if (total == 12345.0f) *out = total;
}

// The best of five: `flops` of one block.
double best_rate(void (*kernel)(float*), double flops, int blocks_each, size_t shared) {
  int processors = 0;
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0);
  float* out = nullptr;
  if (cudaMalloc(&out, 4) != cudaSuccess) return 0;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  const int blocks = processors * blocks_each;
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    cudaDeviceSynchronize();
    const auto begin = std::chrono::steady_clock::now();
    kernel<<<static_cast<unsigned>(blocks), kThreads, shared>>>(out);
    if (cudaDeviceSynchronize() != cudaSuccess) return 0;
    const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = best > flops * blocks / s ? best : flops * blocks / s;
  }
  cudaFree(out);
  return best;
}

}  // namespace

double measure_mma_rate() {
  return best_rate(mma_kernel, 2.0 * 16 * 8 * 16 * kChains * kSteps * (kThreads / 32), 8, 0);
}

double measure_wgmma_rate() {
  int major = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  if (major != 9) return 0;
  return best_rate(wgmma_rate_kernel, 2.0 * 64 * 256 * 64 * kWgmmaSteps * 2, 4, kWgmmaBytes + 1024);
}
