#include "kernels/cuda/state.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "kernels/cuda/product_library.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr size_t kAlign = 256;
constexpr size_t kRingBytes = size_t{8} << 20;
constexpr size_t kScratchBytes = size_t{32} << 20;

std::vector<State*> states;  // alive; a process has one, tests may have several

size_t rounded(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

void check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  throw Error(std::string("cuda: ") + what + ": " + cudaGetErrorString(code));
}

State::State(int device)
    : arena_({[](size_t bytes) -> void* {
                void* p = nullptr;
                if (cudaMalloc(&p, bytes) == cudaSuccess) return p;
                cudaGetLastError();  // told by the null, and not to be found again by the next launch
                return nullptr;
              },
              [](void* p) { cudaFree(p); }}) {
  check(cudaSetDevice(device), "cudaSetDevice");
  for (cudaStream_t* s : {&stream_, &beside_})
    check(cudaStreamCreateWithFlags(s, cudaStreamNonBlocking), "cudaStreamCreate");
  for (cudaEvent_t* e : {&forked_, &joined_})
    check(cudaEventCreateWithFlags(e, cudaEventDisableTiming), "cudaEventCreate");
  check(cudaDeviceGetAttribute(&shared_limit_, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "cudaDeviceGetAttribute");
  grow_ring(kRingBytes);
  states.push_back(this);
}

void State::release(void* p) noexcept {
  for (State* s : states)
    if (s->arena_.give(p)) return;
}

// A context that failed has nothing left to free: errors are of no interest here.
State::~State() {
  std::erase(states, this);
  drop_recording();
  for (cudaStream_t s : {stream_, beside_}) cudaStreamSynchronize(s);
  for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
  for (const Block& b : blocks_) cudaFree(b.data);
  free_retired();
  cudaFree(ring_device_);
  cudaFreeHost(ring_host_);
  for (cudaEvent_t e : {forked_, joined_}) cudaEventDestroy(e);
  for (cudaStream_t s : {beside_, stream_}) cudaStreamDestroy(s);
}

void State::set_library(std::unique_ptr<LibraryProducts> library) { library_ = std::move(library); }

void State::wait() {
  check(cudaStreamSynchronize(stream_), "a kernel queued before");
  if (together_) check(cudaStreamSynchronize(beside_), "a kernel queued before");
}

void State::together(const std::function<void()>& aside, const std::function<void()>& rest) {
  FULMEN_CHECK(!together_, "cuda: together() within together()");
  const Frame frame(*this);
  struct Both {
    State& state;
    bool joined = false;
    ~Both() {
      if (!joined && !state.recording_)
        cudaStreamSynchronize(state.beside_);  // an Error: what is queued there has ended
      state.together_ = state.aside_ = false;
    }
  } both{*this};
  check(cudaEventRecord(forked_, stream_), "fork of a stream");
  check(cudaStreamWaitEvent(beside_, forked_, 0), "fork of a stream");
  together_ = aside_ = true;
  aside();
  aside_ = false;
  check(cudaEventRecord(joined_, beside_), "join of a stream");
  rest();
  check(cudaStreamWaitEvent(stream_, joined_, 0), "join of a stream");
  both.joined = true;
}

void State::grow_ring(size_t bytes) {
  if (!recording_) wait();  // of a recording nothing has run yet: its uploads are read later
  retired_device_.push_back(ring_device_), retired_host_.push_back(ring_host_);
  if (!recording_) free_retired();
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
    if (recording_) {
      grow_ring(2 * ring_bytes_);
    } else {
      wait();
      ring_used_ = 0;
    }
  }
  char *from = ring_host_ + ring_used_, *to = ring_device_ + ring_used_;
  ring_used_ += need;
  std::memcpy(from, host, bytes);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()), "upload");  // where its readers go
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

// Nothing is given back while two streams run: the other may take it. Once nothing is in use, several blocks become one
// that holds what they held.
void State::give_back(size_t used) {
  if (together_) return;
  used_ = used;
  if (used > 0 || blocks_.size() < 2 || recording_) return;
  const size_t bytes = blocks_.back().first + blocks_.back().bytes;
  cudaStreamSynchronize(stream_);
  for (const Block& b : blocks_) cudaFree(b.data);
  blocks_.clear();
  void* data = nullptr;
  if (cudaMalloc(&data, bytes) == cudaSuccess) blocks_.push_back({data, 0, bytes});
}

void State::free_retired() {
  for (void* p : retired_device_) cudaFree(p);
  for (void* p : retired_host_) cudaFreeHost(p);
  retired_device_.clear(), retired_host_.clear();
}

// Relaxed: scratch memory may grow while recording, in the first step of its shape.
void State::begin_recording() {
  FULMEN_CHECK(!recording_, "cuda: a recording within a recording");
  if (!retired_host_.empty() || ring_used_ > ring_bytes_ / 2) {
    wait();
    free_retired();
    ring_used_ = 0;
  }
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "begin of a recording");
  recording_ = true;
}

void State::launch_recording(uint64_t key) {
  FULMEN_CHECK(recording_, "cuda: nothing was recorded");
  recording_ = false;
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream_, &graph), "end of a recording (something in it waited for the device)");
  cudaGraphExec_t& kept = graphs_[key];
  cudaGraphExecUpdateResultInfo ignored;
  if (kept != nullptr && cudaGraphExecUpdate(kept, graph, &ignored) != cudaSuccess) {
    cudaGetLastError();  // of other kernels than last time
    cudaGraphExecDestroy(kept);
    kept = nullptr;
  }
  const cudaError_t built = kept == nullptr ? cudaGraphInstantiate(&kept, graph, 0) : cudaSuccess;
  cudaGraphDestroy(graph);
  check(built, "a graph of what was recorded");
  check(cudaGraphLaunch(kept, stream_), "launch of a graph");
}

void State::drop_recording() noexcept {
  if (!std::exchange(recording_, false)) return;
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream_, &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}

}  // namespace fulmen::kernels::cuda
