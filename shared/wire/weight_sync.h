#pragma once
// Weight versions on their way from the learner to rollout workers. A version is a manifest (name, shape, dtype,
// 128-bit digest per tensor; digest of derived constants; one root digest) and its bytes: in one shared-memory object
// of this host (shm), in one file that all hosts see (file), fetched over ZeroMQ in frames of kChunkBytes (zmq), or
// broadcast among conductor and workers (nccl). A receiver accepts a version only when its own digests match, whatever
// the transport; the old version stays in service until then.
//
// The image of a version: tensors in manifest order, each at the next multiple of kTensorAlign. Offsets of WeightsFetch
// and WeightsChunk count in it, the shared-memory object holds exactly it, and a broadcast sends it in order, in pieces
// of kBroadcastBytes.

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
inline constexpr uint64_t kBroadcastBytes = 64 << 20;

// One broadcast among all members of a group: the publisher's bytes come out at the others. Throws Error when it
// cannot.
using BroadcastBytes = std::function<void(void* data, uint64_t bytes)>;

struct TensorSource {  // view of one tensor of the version to publish
  std::string name;
  std::vector<int64_t> shape;
  uint32_t dtype = 0;  // 0 f32, 1 bf16
  const void* data = nullptr;
  uint64_t bytes = 0;
};

class WeightPublisher {  // conductor side
 public:
  // transport: "shm" | "zmq" | "file" | "nccl" | "ipc" (memory of a GPU that the processes share; who has one puts
  // what broadcast() gives there, and receivers take it from there themselves). directory: of the files; made when it
  // is not there. Removes shared memory and files that killed runs left behind.
  WeightPublisher(const std::string& transport, const std::string& run_id, const std::string& directory = "");
  ~WeightPublisher();  // unlinks shared memory and files; receivers that have them open may finish
  // Copies the tensors; the sources may change afterwards. Keeps this version and the previous one. Versions must rise.
  // Throws Error: no room in /dev/shm or on the disk (with bytes), the object belongs to a living process, a tensor's
  // bytes do not fit its shape.
  const WeightsManifest& publish(uint64_t version, std::span<const TensorSource> tensors,
                                 const base::Digest& constants);
  // Hands over the newest version in pieces: to the others, each in receive_weights, or to a GPU.
  void broadcast(const BroadcastBytes& broadcast) const;
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
// by chunk through `client` with several in flight; a chunk that does not come is asked for again. nccl: takes part in
// the publisher's broadcasts, whose Errors it does not catch. On any other failure (digest, size, timeout, Fault)
// returns false with a line in `why`; the caller keeps serving the old version. `stash` gets other messages that arrive
// meanwhile.
bool receive_weights(const WeightsManifest& manifest, const std::function<void*(size_t)>& sink, Client& client,
                     std::vector<Message>& stash, int timeout_ms, std::string& why,
                     const BroadcastBytes& broadcast = {});

// Recomputed from the tensor entries and constants alone: equal for equal weights, whatever the version or transport.
base::Digest root_digest(const WeightsManifest& manifest);
// Where each tensor begins in the image. Throws Error when that is not an image of total_bytes.
std::vector<uint64_t> image_offsets(const WeightsManifest& manifest);
std::string root_text(const WeightsManifest& manifest);  // its root, in hexadecimal

}  // namespace fulmen::wire
