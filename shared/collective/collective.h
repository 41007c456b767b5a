#pragma once
// What learner ranks do together. Every call is made by all ranks in the same order; it returns when this rank's part
// is done.
//
// Sums have one order, rank 0 first: ((x0 + x1) + x2) + ... for every element, so all ranks get the same bits, in every
// run, whatever arrives first. A rank that dies or hangs ends the call on the others in an Error that names it; after
// an Error the group is of no more use. Not thread-safe.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fulmen::kernels {
struct Context;
}

namespace fulmen::collective {

struct DeviceBytes {  // in the memory of a GPU
  void* data = nullptr;
  size_t bytes = 0;
};

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual void allreduce_sum(std::span<float> data) = 0;  // in place; equal length on all ranks
  virtual void allreduce_sum(std::span<double> data) = 0;
  // out = ((p0 + p1) + p2) + ...: rank 0's parts in their order, then rank 1's, and so on. `counts` says how many each
  // rank has (own: parts.size(), 0 is allowed, not everywhere). Parts and out have one length; out may be a part.
  virtual void sum_in_order(std::span<const std::span<const float>> parts, std::span<const int> counts,
                            std::span<float> out) = 0;
  // May the two calls below be made? With make_nccl, in a process that computes on a GPU.
  virtual bool reaches_device() const { return false; }
  // sum_in_order of parts of `length` floats in the memory of that GPU, with no way through the host's. The order is
  // the same: NCCL carries slices of the parts to the rank that adds them, and a kernel adds them one after another
  // (scaled_add, with which a rank alone adds its shards; so any number of ranks has the same bits).
  virtual void sum_in_order_on_device(std::span<const float* const> parts, std::span<const int> counts, float* out,
                                      size_t length);
  // The root's bytes, from where they lie to where they belong on each rank; as many on all.
  virtual void broadcast_on_device(std::span<const DeviceBytes> pieces, int root);
  virtual std::vector<std::string> allgather(std::string_view bytes) = 0;  // by rank; lengths may differ
  virtual void broadcast(std::string& bytes, int root) = 0;                // the root's bytes, length included
  virtual void barrier() = 0;
  // Returns when `rank` has begun its next call. The only wait without a deadline (rank 0 may conduct for hours before
  // it needs the others): it ends in an Error when that rank is gone.
  virtual void wait_for(int rank) = 0;
};

std::unique_ptr<Collective> make_self();  // one rank: every call is done at once

struct GroupOptions {
  int rank = 0, size = 1;
  // A directory that all ranks see, e.g. under run.dir. Rendezvous keys and one file a rank, locked while it lives.
  std::string directory;
  std::string epoch;               // names this group; a new one for every attempt, equal on all ranks
  std::string host = "127.0.0.1";  // address of this rank for the others
  int timeout_ms = 60000;          // to come together, and for every call
  // Called now and then until all have come; may throw, when it knows that one of them never will.
  std::function<void()> while_waiting;
};

// CPU groups over TCP. Throws Error naming the ranks that did not come, or an epoch that was used before.
std::unique_ptr<Collective> make_gloo(const GroupOptions& options);

struct NcclOptions {
  kernels::Context* ctx = nullptr;  // whose device and stream the bytes pass; outlives the group
  std::string library = "libnccl.so.2";
  size_t piece_bytes = size_t{64} << 20;  // most of a call at once: bounds the buffer on the device, not the result
};

// GPU groups over NCCL, opened at run time. Bytes are exchanged by NCCL and added here, in the order above: an
// all-reduce of NCCL would add in an order of its own choice (ring, tree, number of ranks). Host memory passes through
// the device and gives the results of make_gloo bit for bit; the calls for the device's memory do not touch the host.
// `host` is not used: NCCL finds its ways itself (NCCL_SOCKET_IFNAME). Throws Error also for a library that is missing
// or too old and for a context without a GPU.
std::unique_ptr<Collective> make_nccl(const GroupOptions& options, const NcclOptions& nccl);

}  // namespace fulmen::collective
