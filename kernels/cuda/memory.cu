#include <memory>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/entries.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr size_t kThroughRing = size_t{256} << 10;  // larger copies wait instead of going through pinned memory
constexpr int kThreads = 256;

__global__ void copy_rows_kernel(const float* x, int64_t ld_x, const int32_t* from, float* y, int64_t ld_y,
                                 const int32_t* to, int64_t columns) {
  const int64_t i = blockIdx.x;
  x += (from != nullptr ? from[i] : i) * ld_x;
  y += (to != nullptr ? to[i] : i) * ld_y;
  for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) y[c] = x[c];
}

}  // namespace

void* allocate(size_t bytes, Context& ctx) {
  State& state = state_of(ctx);
  void* p = state.arena().take(bytes);
  size_t free = 0, total = 0;
  if (p == nullptr) {
    cudaMemGetInfo(&free, &total);
    throw Error("cuda: no room for another " + std::to_string(bytes >> 20) + " MiB on the device (" +
                std::to_string(free >> 20) + " of " + std::to_string(total >> 20) +
                " MiB free): lower rollout.memory_mb or optimizer.micro_batch_tokens, or set model.recompute");
  }
  check(cudaMemsetAsync(p, 0, bytes > 0 ? bytes : 1, state.stream()), "cudaMemset");
  return p;
}

void release(void* p) noexcept { State::release(p); }

void reserve(size_t bytes, Context& ctx) {
  if (state_of(ctx).arena().reserve(bytes)) return;
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  throw Error("cuda: no room for the plan's " + std::to_string(bytes >> 20) + " MiB on the device (" +
              std::to_string(free >> 20) + " of " + std::to_string(total >> 20) + " MiB free)");
}

void trim(Context& ctx) {
  state_of(ctx).wait();
  state_of(ctx).arena().trim();
}

void copy_in(void* device, const void* host, size_t bytes, Context& ctx) {
  State& state = state_of(ctx);
  if (bytes <= kThroughRing) {
    check(cudaMemcpyAsync(device, state.upload(host, bytes), bytes, cudaMemcpyDeviceToDevice, state.stream()),
          "copy_in");
    return;
  }
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, state.stream()), "copy_in");
  state.wait();
}

void copy_out(void* host, const void* device, size_t bytes, Context& ctx) {
  State& state = state_of(ctx);
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, state.stream()), "copy_out");
  state.wait();
}

void copy_within(void* to, const void* from, size_t bytes, Context& ctx) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, state_of(ctx).stream()), "copy_within");
}

namespace {

struct PinnedCopy {
  void* host = nullptr;
  size_t bytes = 0;
  cudaEvent_t landed = nullptr;
};

}  // namespace

void* open_fetch(Context&) {
  auto copy = std::make_unique<PinnedCopy>();
  check(cudaEventCreateWithFlags(&copy->landed, cudaEventDisableTiming), "cudaEventCreate");
  return copy.release();
}

void begin_fetch(void* fetch, const void* device, size_t bytes, Context& ctx) {
  auto& copy = *static_cast<PinnedCopy*>(fetch);
  if (bytes > copy.bytes) {
    if (copy.host != nullptr) state_of(ctx).wait();  // an earlier copy may be on its way there
    cudaFreeHost(copy.host);
    copy.host = nullptr, copy.bytes = 0;
    check(cudaMallocHost(&copy.host, 2 * bytes), "pinned memory for results");
    copy.bytes = 2 * bytes;
  }
  check(cudaMemcpyAsync(copy.host, device, bytes, cudaMemcpyDeviceToHost, state_of(ctx).stream()), "fetch");
  check(cudaEventRecord(copy.landed, state_of(ctx).stream()), "fetch");
}

const void* wait_fetch(void* fetch) {
  const auto& copy = *static_cast<PinnedCopy*>(fetch);
  check(cudaEventSynchronize(copy.landed), "a kernel queued before");
  return copy.host;
}

void close_fetch(void* fetch) noexcept {
  const std::unique_ptr<PinnedCopy> copy(static_cast<PinnedCopy*>(fetch));
  cudaEventSynchronize(copy->landed);
  cudaFreeHost(copy->host);
  cudaEventDestroy(copy->landed);
}

void fill_zero(void* device, size_t bytes, Context& ctx) {
  check(cudaMemsetAsync(device, 0, bytes, state_of(ctx).stream()), "fill_zero");
}

size_t bytes_free(Context& ctx) {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  const Arena& arena = state_of(ctx).arena();
  return free + arena.held() - arena.in_use();
}

void begin_recording(Context& ctx) { state_of(ctx).begin_recording(); }
void launch_recording(uint64_t key, Context& ctx) { state_of(ctx).launch_recording(key); }
void drop_recording(Context& ctx) noexcept { state_of(ctx).drop_recording(); }

void synchronize(Context& ctx) { state_of(ctx).wait(); }

void* stream(Context& ctx) { return state_of(ctx).stream(); }

bool idle(Context& ctx) {
  const cudaError_t code = cudaStreamQuery(state_of(ctx).stream());
  if (code == cudaErrorNotReady) return false;
  check(code, "a kernel queued before");
  return true;
}

void copy_rows(const CopyRows& a, Context& ctx) {
  State& state = state_of(ctx);
  const int32_t* from = a.from.empty() ? nullptr : state.upload(a.from);
  const int32_t* to = a.to.empty() ? nullptr : state.upload(a.to);
  const size_t n = a.to.empty() ? a.from.empty() ? static_cast<size_t>(a.x.dim[0]) : a.from.size() : a.to.size();
  launch(state, "copy_rows", copy_rows_kernel, dim3(static_cast<unsigned>(n)), kThreads, 0, a.x.f32(), a.x.ld, from,
         a.y.f32(), a.y.ld, to, a.x.dim[1]);
}

}  // namespace fulmen::kernels::cuda
