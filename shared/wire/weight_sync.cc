#include "shared/wire/weight_sync.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <set>

#include "kernels/error.h"
#include "shared/wire/weight_image.h"
#include "shared/wire/weight_layout.h"

namespace fulmen::wire {
namespace {

constexpr size_t kVersionsKept = 2;

void describe(std::span<const TensorSource> tensors, WeightsManifest& manifest) {
  std::set<std::string_view> names;
  uint64_t end = 0;
  for (const TensorSource& t : tensors) {
    uint64_t want = 0;
    FULMEN_CHECK(shape_bytes(t.shape, t.dtype, want) && want == t.bytes,
                 fmt::format("weights: tensor {}: got {} bytes, its shape and dtype {} want {}", t.name, t.bytes,
                             t.dtype, want));
    FULMEN_CHECK(names.insert(t.name).second, "weights: tensor " + t.name + " is published twice");
    TensorEntry& e = *manifest.add_tensors();
    e.set_name(t.name);
    e.mutable_shape()->Assign(t.shape.begin(), t.shape.end());
    e.set_dtype(t.dtype);
    e.set_bytes(t.bytes);
    e.set_digest(to_bytes(base::digest128(t.data, t.bytes)));
    end = align_up(end) + t.bytes;
  }
  manifest.set_total_bytes(end);
}

}  // namespace

struct WeightPublisher::State {
  struct Version {
    WeightsManifest manifest;
    WeightImage image;
  };
  std::string transport, directory;
  uint64_t run_key = 0;
  std::deque<Version> versions;  // oldest first

  // Where the image of a version lies and what the manifest calls that place.
  WeightImage make_image(WeightsManifest& manifest) const {
    const std::string name = fmt::format("{:016x}-v{}", run_key, manifest.version());
    if (transport == "shm") {
      manifest.set_place(std::string(kObjectPrefix) + name);
      return WeightImage::in_shared_memory(manifest.place(), manifest.total_bytes());
    }
    if (transport == "file") {
      manifest.set_place(fmt::format("{}/{}{}{}", directory, kFilePrefix, name, kFileSuffix));
      return WeightImage::in_file(manifest.place(), manifest.total_bytes());
    }
    return WeightImage::in_memory(manifest.total_bytes());
  }
};

WeightPublisher::WeightPublisher(const std::string& transport, const std::string& run_id, const std::string& directory)
    : state_(std::make_unique<State>()) {
  const std::set<std::string_view> known = {"shm", "zmq", "file", "nccl", "ipc"};
  FULMEN_CHECK(known.contains(transport), "sync.transport: got " + transport + ", want shm, zmq, file or nccl");
  state_->transport = transport;
  state_->run_key = base::digest64(run_id.data(), run_id.size());
  if (transport == "shm") sweep_shared_memory();
  if (transport != "file") return;
  FULMEN_CHECK(!directory.empty(), "sync.transport file: no directory for the versions");
  base::make_directories(directory);
  state_->directory = std::filesystem::absolute(directory).lexically_normal().string();
  sweep_files(state_->directory);
}

WeightPublisher::~WeightPublisher() = default;

const WeightsManifest& WeightPublisher::publish(uint64_t version, std::span<const TensorSource> tensors,
                                                const base::Digest& constants) {
  auto& kept = state_->versions;
  FULMEN_CHECK(kept.empty() || version > kept.back().manifest.version(),
               fmt::format("weights: version {} published after {}", version, kept.back().manifest.version()));
  WeightsManifest manifest;
  manifest.set_version(version);
  describe(tensors, manifest);
  manifest.set_constants(to_bytes(constants));
  manifest.set_root(to_bytes(root_digest(manifest)));
  manifest.set_transport(state_->transport);

  while (kept.size() >= kVersionsKept) kept.pop_front();  // before the new one, so that memory holds two and not three
  WeightImage image = state_->make_image(manifest);
  uint64_t offset = 0;
  for (const TensorSource& t : tensors) {
    offset = align_up(offset);
    if (t.bytes > 0) memcpy(image.data() + offset, t.data, t.bytes);
    offset += t.bytes;
  }
  if (state_->transport == "file") image.finish_file(version, manifest.root());
  kept.push_back({std::move(manifest), std::move(image)});
  return kept.back().manifest;
}

void WeightPublisher::answer(const WeightsFetch& fetch, Message& reply) const {
  const auto& kept = state_->versions;
  auto v = std::find_if(kept.begin(), kept.end(),
                        [&](const State::Version& x) { return x.manifest.version() == fetch.version(); });
  FULMEN_CHECK(v != kept.end(), fmt::format("weights: version {} was asked for, kept are {} to {}", fetch.version(),
                                            kept.empty() ? 0 : kept.front().manifest.version(),
                                            kept.empty() ? 0 : kept.back().manifest.version()));
  uint64_t size = v->image.size();
  FULMEN_CHECK(fetch.bytes() <= kChunkBytes && fetch.offset() <= size && fetch.bytes() <= size - fetch.offset(),
               fmt::format("weights: bytes {}+{} of version {} were asked for, it has {} and a chunk at most {}",
                           fetch.offset(), fetch.bytes(), fetch.version(), size, kChunkBytes));
  WeightsChunk& chunk = *reply.envelope.mutable_weights_chunk();
  chunk.set_version(fetch.version());
  chunk.set_offset(fetch.offset());
  reply.frames.assign(1, std::string(reinterpret_cast<const char*>(v->image.data()) + fetch.offset(), fetch.bytes()));
}

base::Digest root_digest(const WeightsManifest& manifest) {
  std::string text;  // every field has its length in front or a fixed size, so different manifests give different text
  auto number = [&](uint64_t v) {
    for (int i = 0; i < 8; i++) text.push_back(static_cast<char>(v >> (8 * i)));
  };
  auto bytes = [&](const std::string& s) {
    number(s.size());
    text += s;
  };
  number(static_cast<uint64_t>(manifest.tensors_size()));
  for (const TensorEntry& e : manifest.tensors()) {
    bytes(e.name());
    number(static_cast<uint64_t>(e.shape_size()));
    for (int64_t d : e.shape()) number(static_cast<uint64_t>(d));
    number(e.dtype());
    number(e.bytes());
    bytes(e.digest());
  }
  bytes(manifest.constants());
  return base::digest128(text.data(), text.size());
}

std::vector<uint64_t> image_offsets(const WeightsManifest& manifest) {
  std::vector<uint64_t> offsets;
  uint64_t end = 0;
  for (const TensorEntry& e : manifest.tensors()) {
    uint64_t& begin = offsets.emplace_back();
    FULMEN_CHECK(
        append_tensor(e.bytes(), begin, end),
        fmt::format("weights: tensor {} of the image: got {} bytes behind {}", offsets.size(), e.bytes(), end));
  }
  FULMEN_CHECK(end == manifest.total_bytes(),
               fmt::format("weights: an image of {} bytes, the tensors take {}", manifest.total_bytes(), end));
  return offsets;
}

std::string root_text(const WeightsManifest& manifest) { return hex_of(manifest.root()); }

}  // namespace fulmen::wire
