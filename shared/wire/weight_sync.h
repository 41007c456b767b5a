#pragma once
// Weight versions on their way from the learner to rollout workers. A version is a manifest (name, shape, dtype, 128-bit digest
// per tensor; digest of derived constants; one root digest) and its bytes: in one shared-memory object on this host, or
// fetched over ZeroMQ in frames of kChunkBytes. A receiver accepts a version only when its own digests match; the old
// version stays in service until then.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shared/base/file.h"
#include "shared/wire/socket.h"

namespace fulmen::wire {

inline constexpr uint64_t kChunkBytes = 4 << 20;

struct TensorSource {  // view of one tensor of the version to publish
  std::string name;
  std::vector<int64_t> shape;
  uint32_t dtype = 0;  // 0 f32, 1 bf16
  const void* data = nullptr;
  uint64_t bytes = 0;
};

class WeightPublisher {  // conductor side
 public:
  WeightPublisher(const std::string& transport, const std::string& run_id);  // "shm" | "zmq"
  ~WeightPublisher();  // unlinks shared memory
  // Copies the tensors; the sources may change afterwards. Keeps this version and the previous one.
  const WeightsManifest& publish(uint64_t version, std::span<const TensorSource> tensors, const base::Digest& constants);
  // Answers a WeightsFetch: fills `reply` with a WeightsChunk and its frame. Throws Error for a version no longer kept.
  void answer(const WeightsFetch& fetch, Message& reply) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Receiver side: brings the bytes of a manifest to `sink`, verifying every digest. `sink(i)` returns where tensor i goes (its
// shape has been checked by the caller against the manifest) and may be a staging buffer.
// shm: reads the object. zmq: fetches chunk by chunk through `client` with several in flight.
// On any failure (digest, size, timeout) returns false with a line in `why`; the caller keeps serving the old version.
// `stash` gets other messages that arrive meanwhile.
bool receive_weights(const WeightsManifest& manifest, const std::function<void*(size_t)>& sink, Client& client,
                     std::vector<Message>& stash, int timeout_ms, std::string& why);

base::Digest root_digest(const WeightsManifest& manifest);  // recomputed from entries and constants

}  // namespace fulmen::wire
