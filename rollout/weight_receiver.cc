#include "rollout/weight_receiver.h"

#include <fmt/core.h>

#include <cstring>
#include <functional>
#include <utility>

namespace fulmen::rollout {
namespace {

std::string bytes_of(const base::Digest& d) { return {reinterpret_cast<const char*>(d.data()), d.size()}; }

std::string hex_of(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text.empty() ? "nothing" : text;
}

std::string shape_of(const wire::TensorEntry& e) {
  std::string text;
  for (const int64_t d : e.shape()) text += (text.empty() ? "" : ", ") + std::to_string(d);
  return "(" + text + ")";
}

wire::TensorEntry entry_of(const model::Weights& weights, size_t i) {
  const model::TensorSpec& spec = weights.specs()[i];
  const bool bf16 = weights.wire_dtype(i) == kernels::DType::kBf16;
  wire::TensorEntry e;
  e.set_name(spec.name);
  for (const int64_t d : spec.shape) e.add_shape(d);
  e.set_dtype(bf16 ? 1 : 0);
  e.set_bytes(static_cast<uint64_t>(spec.numel()) * (bf16 ? 2 : 4));
  return e;
}

// The manifest entries, constants and root that the bytes received give, each digest computed here: compared entry by
// entry for the message and by root for the verdict. Returns "" or the first difference.
std::string weights_difference(const wire::WeightsManifest& manifest, const model::Weights& weights,
                               const std::function<base::Digest(size_t)>& digest_of) {
  wire::WeightsManifest own;
  for (size_t i = 0; i < weights.num_tensors(); ++i) {
    wire::TensorEntry& e = *own.add_tensors();
    e = entry_of(weights, i);
    e.set_digest(bytes_of(digest_of(i)));
    const std::string& got = manifest.tensors(static_cast<int>(i)).digest();
    if (got != e.digest()) {
      return fmt::format("tensor {}: the values received have digest {}, the manifest says {}", e.name(),
                         hex_of(e.digest()), hex_of(got));
    }
  }
  own.set_constants(bytes_of(weights.constants_digest()));
  if (manifest.constants() != own.constants()) {
    return fmt::format("decay slopes: own digest is {}, the manifest says {} (another architecture or build)",
                       hex_of(own.constants()), hex_of(manifest.constants()));
  }
  const std::string root = bytes_of(wire::root_digest(own));
  if (manifest.root() != root) {
    return fmt::format("root digest: own is {}, the manifest says {}", hex_of(root), hex_of(manifest.root()));
  }
  return {};
}

}  // namespace

WeightReceiver::WeightReceiver(const model::ModelConfig& config, const model::ComputeDtypes& dtypes,
                               kernels::Context& ctx)
    : config_(config), dtypes_(dtypes), ctx_(ctx) {}

// Before any byte is fetched: is this a version of our model at all?
std::string WeightReceiver::why_not(const wire::WeightsManifest& manifest) const {
  const std::vector<model::TensorSpec>& specs = spare_->specs();
  if (manifest.version() == 0) return "version: got 0, want at least 1";
  if (manifest.tensors_size() != static_cast<int>(specs.size())) {
    return fmt::format("tensors: got {}, the model of this worker's config has {}", manifest.tensors_size(),
                       specs.size());
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    const wire::TensorEntry& got = manifest.tensors(static_cast<int>(i));
    const wire::TensorEntry want = entry_of(*spare_, i);
    if (got.name() != want.name() || shape_of(got) != shape_of(want) || got.dtype() != want.dtype() ||
        got.bytes() != want.bytes()) {
      return fmt::format("tensor {}: got {} {} dtype {} of {} bytes, want {} {} dtype {} of {} bytes", i, got.name(),
                         shape_of(got), got.dtype(), got.bytes(), want.name(), shape_of(want), want.dtype(),
                         want.bytes());
    }
  }
  return {};
}

std::string WeightReceiver::receive_on_host(const wire::WeightsManifest& manifest, wire::Client& client,
                                            std::vector<wire::Message>& stash, int timeout_ms) {
  std::string why;
  std::vector<std::vector<uint16_t>> halves(spare_->num_tensors());
  const auto sink = [&](size_t i) -> void* {
    if (spare_->wire_dtype(i) == kernels::DType::kF32) return spare_->tensor(i).data();
    halves[i].resize(spare_->tensor(i).size());
    return halves[i].data();
  };
  if (!wire::receive_weights(manifest, sink, client, stash, timeout_ms, why)) return why;
  for (size_t i = 0; i < halves.size(); ++i)
    if (!halves[i].empty()) spare_->from_bf16(i, halves[i]);
  why = weights_difference(manifest, *spare_, [&](size_t i) {
    if (halves[i].empty()) return spare_->tensor_digest(i);
    const std::vector<uint16_t> values = spare_->to_bf16(i, ctx_);
    return base::digest128(values.data(), values.size() * sizeof(uint16_t));
  });
  if (why.empty()) spare_->pack(ctx_);
  return why;
}

// From the learner's memory on our GPU to ours.
void WeightReceiver::take_shared(const wire::WeightsManifest& manifest) {
  const std::vector<uint64_t> offset = wire::image_offsets(manifest);
  const kernels::DeviceMemory image = kernels::open_shared(manifest.place(), ctx_);
  for (size_t i = 0; i < offset.size(); ++i)
    kernels::copy_within(spare_->arriving(i, ctx_), static_cast<const uint8_t*>(image.get()) + offset[i],
                         manifest.tensors(static_cast<int>(i)).bytes(), ctx_);
  kernels::synchronize(ctx_);  // before it is closed
}

// From the learner's GPU to ours: we are a rank of the manifest's group, which lives from version to version.
void WeightReceiver::take_broadcast(const wire::WeightsManifest& manifest, int timeout_ms) {
  const wire::WeightsGroup& g = manifest.group();
  if (group_ == nullptr || group_epoch_ != g.epoch()) {
    group_.reset();
    group_ = collective::make_nccl({.rank = static_cast<int>(g.rank()),
                                    .size = static_cast<int>(g.size()),
                                    .directory = g.directory(),
                                    .epoch = g.epoch(),
                                    .timeout_ms = timeout_ms,
                                    .while_waiting = {}},
                                   {.ctx = &ctx_});
    group_epoch_ = g.epoch();
  }
  std::vector<collective::DeviceBytes> pieces;
  for (size_t i = 0; i < spare_->num_tensors(); ++i)
    pieces.push_back({spare_->arriving(i, ctx_), manifest.tensors(static_cast<int>(i)).bytes()});
  group_->broadcast_on_device(pieces, 0);
}

// The digests are of what lies on the GPU; only for them the bytes come to the host.
std::string WeightReceiver::check_arrived(const wire::WeightsManifest& manifest) {
  std::vector<uint8_t> bytes;
  const std::string why = weights_difference(manifest, *spare_, [&](size_t i) {
    bytes.resize(manifest.tensors(static_cast<int>(i)).bytes());
    kernels::copy_out(bytes.data(), spare_->arriving(i, ctx_), bytes.size(), ctx_);
    return base::digest128(bytes.data(), bytes.size());
  });
  if (why.empty()) spare_->pack_arrived(ctx_);
  return why;
}

wire::WeightsReady WeightReceiver::receive(const wire::WeightsManifest& manifest, wire::Client& client,
                                           std::vector<wire::Message>& stash, int timeout_ms) {
  wire::WeightsReady ready;
  ready.set_version(manifest.version());
  if (manifest.root().size() == sizeof(base::Digest) &&
      ((manifest.version() == version_ && manifest.root() == root_) ||
       (manifest.version() == staged_version_ && manifest.root() == staged_root_))) {
    ready.set_ok(true);  // announced again, to one who has it
    ready.set_root(manifest.root());
    return ready;
  }
  if (!spare_) spare_ = std::make_unique<model::Weights>(config_, dtypes_);
  std::string why = why_not(manifest);
  if (why.empty()) {
    staged_version_ = 0;  // from here on the spare holds rubbish until all is checked
    try {
      const bool ipc = manifest.transport() == "ipc", nccl = manifest.transport() == "nccl" && manifest.has_group();
      if (ipc) take_shared(manifest);
      if (nccl) take_broadcast(manifest, timeout_ms);
      why = ipc || nccl ? check_arrived(manifest) : receive_on_host(manifest, client, stash, timeout_ms);
    } catch (const Error& e) {  // of a group or the device: the conductor announces in another way
      group_.reset();
      why = e.what();
    }
  }
  ready.set_ok(why.empty());
  ready.set_detail(why);
  if (!why.empty()) return ready;
  staged_version_ = manifest.version();
  staged_root_ = manifest.root();
  ready.set_root(staged_root_);
  return ready;
}

const model::Weights& WeightReceiver::adopt() {
  FULMEN_CHECK(staged_version_ != 0, "weights: nothing staged to adopt");
  std::swap(current_, spare_);
  version_ = std::exchange(staged_version_, 0);
  root_ = staged_root_;
  return *current_;
}

}  // namespace fulmen::rollout
