#pragma once
// The memory of a Context's device. Host code goes through here and never follows a pointer into device memory; on the
// CPU, where both are one, the copies between a thing and itself are left out.

#include <memory>
#include <span>
#include <string>

#include "kernels/context.h"

namespace fulmen::kernels {

bool host_memory(const Context& ctx);  // may host code follow device pointers?

struct Release {
  void (*release)(void*) noexcept = nullptr;
  void operator()(void* p) const { release(p); }
};
using DeviceMemory = std::unique_ptr<void, Release>;
DeviceMemory allocate_host(size_t bytes);           // the host's, zeroed, in huge pages where they fit
DeviceMemory allocate(size_t bytes, Context& ctx);  // zeroed, aligned to 256 bytes; throws Error when there is no more

void copy_in(void* device, const void* host, size_t bytes, Context& ctx);
void copy_out(void* host, const void* device, size_t bytes, Context& ctx);  // waits for what was queued before
void copy_within(void* to, const void* from, size_t bytes, Context& ctx);   // must not overlap
void fill_zero(void* device, size_t bytes, Context& ctx);

// Results on their way to the host while more work is queued: begin() queues a copy behind what was queued before it
// and returns; wait() waits for that copy alone and says where it is, until the next begin(). One copy at a time. Where
// the device's memory is the host's nothing is copied. Must not outlive ctx.
class Fetch {
 public:
  explicit Fetch(Context& ctx);
  ~Fetch();
  Fetch(const Fetch&) = delete;
  Fetch& operator=(const Fetch&) = delete;
  void begin(const void* device, size_t bytes);
  const void* wait();

 private:
  Context& ctx_;
  void* copy_ = nullptr;  // of a device: pinned memory and an event
  const void* in_place_ = nullptr;
};

size_t bytes_free(const Context& ctx);  // of a device with memory of its own; elsewhere the largest size_t
// Of a device with memory of its own: takes so much in one piece, from which allocate() then serves; throws Error when
// there is not so much. trim() waits for what was queued and gives pieces that nothing lies in back, for other
// processes.
void reserve(size_t bytes, Context& ctx);
void trim(Context& ctx);
void synchronize(Context& ctx);
// For libraries that queue work of their own on the device (NCCL): the stream that the calls of this Context go to,
// null where there is none (CPU); and whether all that was queued there is done, without waiting. idle throws what went
// wrong.
void* stream(Context& ctx);
bool idle(Context& ctx);

// Memory that other processes on the same GPU may read while it lives here (CUDA IPC): `name` is what they open it by.
// Both throw Error where the device has no such thing; opening also for what this process made itself, for what is no
// more, and on another GPU.
DeviceMemory allocate_shared(size_t bytes, std::string& name, Context& ctx);
DeviceMemory open_shared(const std::string& name, Context& ctx);

// y[to[i]] = x[from[i]] for each i; an empty list means row i itself. Rows of y not named keep their values. Indices
// are host memory and checked; no row of `to` may occur twice.
struct CopyRows {
  TensorRef x;  // (., C)
  std::span<const int32_t> from;
  TensorRef y;  // (., C)
  std::span<const int32_t> to;
};
void copy_rows(const CopyRows& a, Context& ctx);

}  // namespace fulmen::kernels
