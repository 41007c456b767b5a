// The conductor's part in weight sync: which version, who gets it, by which way.

#include <unistd.h>

#include <algorithm>

#include "kernels/device.h"
#include "learner/conductor_state.h"
#include "shared/base/log.h"

namespace fulmen::learner {

std::string sync_transport(const base::Config& config, const kernels::Context& ctx) {
  if (config.sync.transport != "shm" || kernels::host_memory(ctx)) return config.sync.transport;
  const std::string& device = config.rollout.device.empty() ? config.run.device : config.rollout.device;
  for (int i = 0; i < config.rollout.workers; ++i)
    if (kernels::nth_device(device, i) != config.run.device) return "shm";
  return "ipc";
}

void Conductor::publish(const model::Weights& weights, uint64_t version) {
  State& s = *state_;
  std::vector<wire::TensorSource> sources;
  std::vector<std::vector<uint16_t>> rounded;
  for (size_t i = 0; i < weights.num_tensors(); ++i) {
    const bool bf16 = weights.wire_dtype(i) == kernels::DType::kBf16;
    if (bf16) rounded.push_back(weights.to_bf16(i, s.ctx));
    sources.push_back({.name = weights.specs()[i].name,
                       .shape = weights.specs()[i].shape,
                       .dtype = bf16 ? 1u : 0u,
                       .data = bf16 ? static_cast<const void*>(rounded.back().data()) : weights.tensor(i).data(),
                       .bytes = weights.tensor(i).size_bytes() / (bf16 ? 2 : 1)});
  }
  s.manifest = &s.publisher.publish(version, sources, weights.constants_digest());
  s.version = version;
  base::debug("weights version {} published by {}: {} bytes, root {}", version, s.manifest->transport(),
              s.manifest->total_bytes(), wire::root_text(*s.manifest));
  if (s.config.sync.transport == "nccl") return s.broadcast_weights(weights);
  if (s.manifest->transport() == "ipc") s.share_weights(weights);
  for (Worker& w : s.workers)
    if (w.role == "rollout" && w.connected) s.announce(w);
}

void Conductor::rest() {
  State& s = *state_;
  if (!s.config.rollout.in_turn) return;
  const auto awake = [](const Worker& w) { return w.role == "rollout" && w.connected && !w.resting; };
  for (Worker& w : s.workers) {
    w.resting = false;
    wire::Message m;
    m.envelope.mutable_rest();
    if (awake(w)) s.send(w, m);
  }
  const auto begin = Clock::now();
  while (std::any_of(s.workers.begin(), s.workers.end(), awake)) {
    FULMEN_CHECK(seconds_since(begin) < s.config.sync.timeout_s,
                 fmt::format("workers did not give their memory back within {} s: {}", s.config.sync.timeout_s,
                             s.describe_workers()));
    s.pump(20);
  }
}

// From where the learner packed it. All of it is there when this returns: other processes do not wait for our stream.
void Conductor::State::share_weights(const model::Weights& weights) {
  const auto bytes = static_cast<size_t>(manifest->total_bytes());
  try {
    if (shared_image == nullptr || bytes != shared_bytes) {
      shared_image = {};
      shared_name.clear();
      shared_image = kernels::allocate_shared(bytes, shared_name, ctx);
      shared_bytes = bytes;
    }
    auto* const to = static_cast<uint8_t*>(shared_image.get());
    const std::vector<uint64_t> offset = wire::image_offsets(*manifest);
    for (size_t i = 0; i < offset.size(); ++i)
      kernels::copy_within(to + offset[i], weights.departing(i), manifest->tensors(static_cast<int>(i)).bytes(), ctx);
    kernels::synchronize(ctx);
  } catch (const Error& e) {
    shared_image = {};
    shared_name.clear();
    base::warn("weights version {} is not shared on the GPU: {}; it goes by zmq", version, e.what());
  }
}

// Without a group, what would be broadcast is fetched over the sockets: by workers that came later, and by those that a
// broadcast did not reach.
void Conductor::State::announce(Worker& w, const wire::WeightsGroup* in_group) {
  wire::Message m;
  wire::WeightsManifest& announced = *m.envelope.mutable_weights_announce();
  announced = *manifest;
  if (in_group != nullptr)
    *announced.mutable_group() = *in_group;
  else if (announced.transport() == "ipc" && !shared_name.empty() && !w.by_sockets)
    announced.set_place(shared_name);
  else if (announced.transport() == "nccl" || announced.transport() == "ipc")
    announced.set_transport("zmq");
  send(w, m);
}

// From where the learner packed them to where the workers' kernels read them, GPU to GPU; digests are of what arrives.
// The group is made anew when other workers are there than last time. When it breaks, each worker says that it has not
// got the version and gets it over the sockets.
void Conductor::State::broadcast_weights(const model::Weights& weights) {
  std::vector<Worker*> members;
  std::string names;
  for (Worker& w : workers) {
    if (w.role != "rollout" || !w.connected) continue;
    members.push_back(&w);
    names += fmt::format("{}.{} ", w.name, w.restarts);
  }
  if (members.empty()) return;
  if (names != sync_members) {
    sync_group.reset();
    sync_members = names;
    sync_place.set_directory(config.run.dir + "/weights-group");
    sync_place.set_epoch(fmt::format("{}-{}-v{}", getpid(), wire::unix_ms(), version));
    sync_place.set_size(static_cast<uint32_t>(members.size()) + 1);
  }
  for (size_t i = 0; i < members.size(); ++i) {
    sync_place.set_rank(static_cast<uint32_t>(i) + 1);
    announce(*members[i], &sync_place);
  }
  const auto all_live = [this] {  // outlives this call: the group keeps it
    for (const Worker& w : workers)
      FULMEN_CHECK(w.role != "rollout" || !w.connected || w.process->running(),
                   w.name + " ended (" + w.process->exit_text() + "), log " + w.log_path);
  };
  try {
    if (sync_group == nullptr)
      sync_group = collective::make_nccl({.rank = 0,
                                          .size = static_cast<int>(sync_place.size()),
                                          .directory = sync_place.directory(),
                                          .epoch = sync_place.epoch(),
                                          .timeout_ms = config.sync.timeout_s * 1000,
                                          .while_waiting = all_live},
                                         {.ctx = &ctx});
    std::vector<collective::DeviceBytes> pieces;
    for (size_t i = 0; i < weights.num_tensors(); ++i)
      pieces.push_back({const_cast<void*>(weights.departing(i)), manifest->tensors(static_cast<int>(i)).bytes()});
    sync_group->broadcast_on_device(pieces, 0);
  } catch (const Error& e) {
    sync_group.reset();
    sync_members.clear();
    base::warn("weights version {} could not be broadcast (rank 1 is the first rollout worker): {}; it goes by zmq",
               version, e.what());
  }
}

void Conductor::State::on_weights_ready(Worker& w, const wire::WeightsReady& r) {
  if (r.ok()) {
    FULMEN_CHECK(r.version() != version || r.root() == manifest->root(),
                 w.name + " says it serves weights version " + std::to_string(version) + " with another root digest");
    w.refused_weights = 0;
    return;
  }
  if (r.version() != version) {  // replaced while it was read: the newer one has been announced
    base::debug("{} did not take weights version {}: {}", w.name, r.version(), r.detail());
    return;
  }
  base::warn("{} refused weights version {}: {}", w.name, r.version(), r.detail());
  FULMEN_CHECK(++w.refused_weights <= 3,
               w.name + " refused weights version " + std::to_string(r.version()) + " three times: " + r.detail());
  w.by_sockets = true;
  announce(w);
}

}  // namespace fulmen::learner
