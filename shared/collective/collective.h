#pragma once
// What learner ranks do together. Every call is made by all ranks in the same order; it returns when this rank's part
// is done.
//
// Sums have one order, rank 0 first: ((x0 + x1) + x2) + ... for every element, so all ranks get the same bits, in every
// run, whatever arrives first. A rank that dies or hangs ends the call on the others in an Error that names it; after
// an Error the group is of no more use. Not thread-safe.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fulmen::collective {

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual void allreduce_sum(std::span<float> data) = 0;  // in place; equal length on all ranks
  virtual void allreduce_sum(std::span<double> data) = 0;
  virtual std::vector<std::string> allgather(std::string_view bytes) = 0;  // by rank; lengths may differ
  virtual void broadcast(std::string& bytes, int root) = 0;                // the root's bytes, length included
  virtual void barrier() = 0;
};

std::unique_ptr<Collective> make_self();  // one rank: every call is done at once

struct GlooOptions {
  int rank = 0, size = 1;
  // A directory that all ranks see, e.g. under run.dir. Rendezvous keys and one file a rank, locked while it lives.
  std::string directory;
  std::string epoch;               // names this group; a new one for every attempt, equal on all ranks
  std::string host = "127.0.0.1";  // address of this rank for the others
  int timeout_ms = 60000;          // to come together, and for every call
};

// CPU groups over TCP. Throws Error naming the ranks that did not come, or an epoch that was used before.
std::unique_ptr<Collective> make_gloo(const GlooOptions& options);

}  // namespace fulmen::collective
