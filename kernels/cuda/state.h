#pragma once
// The host side of the CUDA backend: what hangs on Context::device. A stream, and one beside it for what may run at the
// same time; a ring through which small host data travel; scratch memory that kernels borrow for one call; an arena for
// buffers; the graphs of recorded steps. Single-threaded, as a Context is, and of the thread that made it: which GPU
// CUDA means is a thread's own (cudaSetDevice).

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "kernels/context.h"
#include "kernels/cuda/arena.h"

namespace fulmen::kernels::cuda {

class LibraryProducts;

void check(cudaError_t code, const char* what);  // throws Error "cuda: WHAT: MESSAGE" unless cudaSuccess

class State {
 public:
  explicit State(int device);
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  cudaStream_t stream() const { return aside_ ? beside_ : stream_; }  // where work is queued
  int shared_limit() const { return shared_limit_; }  // bytes of dynamic shared memory a block may ask for
  void wait();                                        // for everything queued
  // What `aside` queues may run at the same time as what `rest` queues: after all that was queued before and before all
  // that is queued later. Neither may write what the other touches; they get different scratch memory.
  void together(const std::function<void()>& aside, const std::function<void()>& rest);
  bool wgmma_admitted() const { return wgmma_; }  // product_wgmma.h
  void set_wgmma_admitted(bool admitted) { wgmma_ = admitted; }
  LibraryProducts* library() const { return library_.get(); }  // product_library.h; null: own kernels alone
  void set_library(std::unique_ptr<LibraryProducts> library);
  Arena& arena() { return arena_; }
  static void release(void* p) noexcept;  // of the State whose arena it came from; nothing when that is gone

  // What is queued from begin to launch becomes a graph and starts as one (kernels/recording.h).
  void begin_recording();
  void launch_recording(uint64_t key);
  void drop_recording() noexcept;

  // Device copy of host data, good for kernels queued before the next few megabytes of uploads.
  const void* upload(const void* host, size_t bytes);
  template <class T>
  const T* upload(std::span<const T> host) {
    return static_cast<const T*>(upload(host.data(), host.size_bytes()));
  }

  // Scratch of a call: everything taken while a Frame lives is given back with it. Frames nest.
  class Frame {
   public:
    explicit Frame(State& state) : state_(state), used_(state.used_) {}
    ~Frame() { state_.give_back(used_); }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    template <class T>
    T* take(int64_t count) {
      return static_cast<T*>(state_.take(static_cast<size_t>(count) * sizeof(T)));
    }

   private:
    State& state_;
    size_t used_;
  };

 private:
  struct Block {
    void* data;
    size_t first, bytes;  // it holds scratch offsets [first, first + bytes)
  };
  void* take(size_t bytes);
  void give_back(size_t used);
  void grow_ring(size_t bytes);
  void free_retired();

  cudaStream_t stream_ = nullptr, beside_ = nullptr;
  cudaEvent_t forked_ = nullptr, joined_ = nullptr;
  bool together_ = false, aside_ = false;
  int shared_limit_ = 0;
  bool wgmma_ = false;
  std::unique_ptr<LibraryProducts> library_;
  char *ring_host_ = nullptr, *ring_device_ = nullptr;
  size_t ring_bytes_ = 0, ring_used_ = 0;
  std::vector<Block> blocks_;
  size_t used_ = 0;
  Arena arena_;
  bool recording_ = false;
  std::vector<void*> retired_device_, retired_host_;  // outgrown while recording: the graph still reads them
  std::unordered_map<uint64_t, cudaGraphExec_t> graphs_;
};

inline State& state_of(Context& ctx) { return *static_cast<State*>(ctx.device); }

}  // namespace fulmen::kernels::cuda
