#pragma once
// Weight versions on their way from the learner to rollout workers. A version is a manifest (name, shape, dtype,
// 128-bit digest per tensor; digest of derived constants; one root digest) and its bytes: in one shared-memory object
// of this host (shm), in one file that all hosts see (file) or fetched over ZeroMQ in frames of kChunkBytes (zmq). From
// GPU to GPU they go another way under the same manifest, from where the learner packed them to where the workers'
// kernels read them: by memory of one GPU that processes share (ipc), or broadcast (nccl); see
// learner/conductor_weights.cc and rollout/weight_receiver.cc. A receiver accepts a version only when its own digests
// match, whatever the transport; the old version stays in service until then.
//
// The image of a version: tensors in manifest order, each at the next multiple of kTensorAlign. Offsets of WeightsFetch
// and WeightsChunk count in it, and the shared-memory object holds exactly it.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shared/base/file.h"
#include "shared/wire/socket.h"

namespace fulmen::wire {

inline constexpr uint64_t kChunkBytes = 4 << 20;
inline constexpr uint64_t kTensorAlign = 64;

struct TensorSource {  // view of one tensor of the version to publish
  std::string name;
  std::vector<int64_t> shape;
  uint32_t dtype = 0;  // 0 f32, 1 bf16
  const void* data = nullptr;
  uint64_t bytes = 0;
};

class WeightPublisher {  // conductor side
 public:
  // transport: "shm" | "zmq" | "file" | "nccl" | "ipc" (of the last two the bytes go by GPU, and by zmq to whom that
  // does not reach). directory: of the files; made when it is not there. Removes shared memory and files that killed
  // runs left behind.
  WeightPublisher(const std::string& transport, const std::string& run_id, const std::string& directory = "");
  ~WeightPublisher();  // unlinks shared memory and files; receivers that have them open may finish
  // Copies the tensors; the sources may change afterwards. Keeps this version and the previous one. Versions must rise.
  // Throws Error: no room in /dev/shm or on the disk (with bytes), the object belongs to a living process, a tensor's
  // bytes do not fit its shape.
  const WeightsManifest& publish(uint64_t version, std::span<const TensorSource> tensors,
                                 const base::Digest& constants);
  // Answers a WeightsFetch: fills `reply` with a WeightsChunk and its frame, under every transport. Throws Error for a
  // version no longer kept or a range outside it; the conductor sends its text back as a Fault.
  void answer(const WeightsFetch& fetch, Message& reply) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Receiver side: brings the bytes of a manifest to `sink`, verifying every digest. `sink(i)` returns where tensor i
// goes (its shape has been checked by the caller against the manifest) and should be a staging buffer: after a failure
// it holds rubbish. shm: reads the object. file: reads it once it is there and names this version. zmq: fetches chunk
// by chunk through `client` with several in flight; a chunk that does not come is asked for again. On failure (digest,
// size, timeout, Fault) returns false with a line in `why`; the caller keeps serving the old version. `stash` gets
// other messages that arrive meanwhile.
bool receive_weights(const WeightsManifest& manifest, const std::function<void*(size_t)>& sink, Client& client,
                     std::vector<Message>& stash, int timeout_ms, std::string& why);

// Recomputed from the tensor entries and constants alone: equal for equal weights, whatever the version or transport.
base::Digest root_digest(const WeightsManifest& manifest);
// Where each tensor begins in the image. Throws Error when that is not an image of total_bytes.
std::vector<uint64_t> image_offsets(const WeightsManifest& manifest);
std::string root_text(const WeightsManifest& manifest);  // its root, in hexadecimal

}  // namespace fulmen::wire
