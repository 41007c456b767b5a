#include "kernels/cuda/state.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace fulmen::kernels::cuda {
namespace {

constexpr size_t kAlign = 256;
constexpr size_t kRingBytes = size_t{8} << 20;
constexpr size_t kScratchBytes = size_t{32} << 20;

size_t rounded(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

void check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  throw Error(std::string("cuda: ") + what + ": " + cudaGetErrorString(code));
}

State::State(int device) {
  check(cudaSetDevice(device), "cudaSetDevice");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  check(cudaDeviceGetAttribute(&shared_limit_, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "cudaDeviceGetAttribute");
  grow_ring(kRingBytes);
}

// A context that failed has nothing left to free: errors are of no interest here.
State::~State() {
  cudaStreamSynchronize(stream_);
  for (const Block& b : blocks_) cudaFree(b.data);
  cudaFree(ring_device_);
  cudaFreeHost(ring_host_);
  cudaStreamDestroy(stream_);
}

void State::wait() { check(cudaStreamSynchronize(stream_), "a kernel queued before"); }

void State::grow_ring(size_t bytes) {
  wait();
  cudaFree(ring_device_);
  cudaFreeHost(ring_host_);
  ring_device_ = nullptr, ring_host_ = nullptr, ring_used_ = 0;
  check(cudaMallocHost(reinterpret_cast<void**>(&ring_host_), bytes), "pinned memory of the upload ring");
  check(cudaMalloc(reinterpret_cast<void**>(&ring_device_), bytes), "device memory of the upload ring");
  ring_bytes_ = bytes;
}

// The device's part of the ring is overwritten in stream order, after its readers; the host's part is not, so before it
// is used again the stream must have passed.
const void* State::upload(const void* host, size_t bytes) {
  const size_t need = rounded(bytes);
  if (need > ring_bytes_ / 2) grow_ring(4 * need);
  if (ring_used_ + need > ring_bytes_) {
    wait();
    ring_used_ = 0;
  }
  char *from = ring_host_ + ring_used_, *to = ring_device_ + ring_used_;
  ring_used_ += need;
  std::memcpy(from, host, bytes);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "upload");
  return to;
}

void* State::take(size_t bytes) {
  const size_t need = rounded(std::max(bytes, size_t{1}));
  for (const Block& b : blocks_) {
    const size_t at = std::max(used_, b.first);
    if (at + need > b.first + b.bytes) continue;
    used_ = at + need;
    return static_cast<char*>(b.data) + (at - b.first);
  }
  const size_t first = blocks_.empty() ? 0 : blocks_.back().first + blocks_.back().bytes;
  Block b{nullptr, first, std::max({need, kScratchBytes, first})};
  check(cudaMalloc(&b.data, b.bytes), "scratch memory of a kernel");
  blocks_.push_back(b);
  used_ = first + need;
  return b.data;
}

// Once nothing is in use, several blocks become one that holds what they held.
void State::give_back(size_t used) {
  used_ = used;
  if (used > 0 || blocks_.size() < 2) return;
  const size_t bytes = blocks_.back().first + blocks_.back().bytes;
  cudaStreamSynchronize(stream_);
  for (const Block& b : blocks_) cudaFree(b.data);
  blocks_.clear();
  void* data = nullptr;
  if (cudaMalloc(&data, bytes) == cudaSuccess) blocks_.push_back({data, 0, bytes});
}

}  // namespace fulmen::kernels::cuda
