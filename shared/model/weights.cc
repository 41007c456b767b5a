#include "shared/model/weights.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/lightning.h"
#include "kernels/thread_pool.h"
#include "shared/base/rng.h"

namespace fulmen::model {

using kernels::DType;
using kernels::TensorRef;

// In both: the old memory goes first, so that old and new never stand side by side.
void Buffer::resize(size_t floats) {
  if (floats > capacity_) {
    take({}, 0);
    take(kernels::allocate_host(floats * sizeof(float)), floats);
  }
  size_ = floats;
}

void Buffer::resize(size_t floats, kernels::Context& ctx) {
  if (floats > capacity_) {
    take({}, 0);
    take(kernels::allocate(floats * sizeof(float), ctx), floats);
  }
  size_ = floats;
}

void Buffer::take(kernels::DeviceMemory memory, size_t floats) {
  data_ = std::move(memory);
  capacity_ = size_ = floats;
}

namespace {

DType dtype_of(const std::string& name, const char* key) {
  FULMEN_CHECK(name == "f32" || name == "bf16",
               std::string("model.") + key + ": got \"" + name + "\", want f32 or bf16");
  return name == "bf16" ? DType::kBf16 : DType::kF32;
}

constexpr char kEmbedding[] = "model.embed_tokens.weight", kHead[] = "lm_head.weight";

bool is_head(const TensorSpec& spec, const ModelConfig& config) {
  return spec.name == (config.tie_word_embeddings ? kEmbedding : kHead);
}

}  // namespace

ComputeDtypes::ComputeDtypes(const base::ModelSection& config)
    : weights(dtype_of(config.weights_dtype, "weights_dtype")), head(dtype_of(config.head_dtype, "head_dtype")) {}

TensorUse use_of(const TensorSpec& spec, const ModelConfig& config, const ComputeDtypes& dtypes) {
  const bool embedding = spec.name == kEmbedding, head = is_head(spec, config);
  if (spec.shape.size() != 2 || (embedding && !head)) return {false, DType::kF32, DType::kF32};
  const bool keep_fp32 = spec.fp32_on_disk || spec.name.ends_with(".coefficient.weight");
  const DType compute = keep_fp32 ? DType::kF32 : head ? dtypes.head : dtypes.weights;
  return {true, compute, embedding ? DType::kF32 : compute};  // rows of an embedding are looked up in fp32
}

Weights::Weights(const ModelConfig& config, const ComputeDtypes& dtypes)
    : config_(config), specs_(tensor_specs(config)) {
  values_.resize(specs_.size());
  for (size_t i = 0; i < specs_.size(); ++i) {
    uses_.push_back(use_of(specs_[i], config_, dtypes));
    values_[i].resize(static_cast<size_t>(specs_[i].numel()));
    index_.emplace(specs_[i].name, i);
  }
}

size_t Weights::index(const std::string& name) const {
  const auto it = index_.find(name);
  FULMEN_CHECK(it != index_.end(), "weights: this architecture has no tensor " + name);
  return it->second;
}

size_t Weights::lm_head_index() const { return index(has(kHead) ? kHead : kEmbedding); }

void Weights::init_random(uint64_t seed) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    const TensorSpec& spec = specs_[i];
    std::span<float> values = tensor(i);
    if (spec.shape.size() == 1) {
      for (float& x : values) x = 1;
      continue;
    }
    base::Stream stream(seed, base::Purpose::kInit, base::digest64(spec.name.data(), spec.name.size()));
    const float std = static_cast<float>(config_.initializer_range);
    for (float& x : values) x = std * stream.next_normal();
  }
}

namespace {

uint16_t bf16_nearest_even(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40);  // NaN stays NaN
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

void round_to(const float* from, uint16_t* to, int64_t n, kernels::Context& ctx) {
  ctx.pool->parallel_for(n, 1 << 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t j = begin; j < end; ++j) to[j] = bf16_nearest_even(from[j]);
  });
}

}  // namespace

std::vector<uint16_t> Weights::to_bf16(size_t i, kernels::Context& ctx) const {
  std::vector<uint16_t> rounded(values_[i].size());
  round_to(values_[i].data(), rounded.data(), static_cast<int64_t>(rounded.size()), ctx);
  return rounded;
}

void Weights::from_bf16(size_t i, std::span<const uint16_t> values) {
  FULMEN_CHECK(values.size() == values_[i].size(), "weights: tensor " + specs_[i].name + ": got " +
                                                       std::to_string(values.size()) + " values, want " +
                                                       std::to_string(values_[i].size()));
  float* to = values_[i].data();
  for (size_t j = 0; j < values.size(); ++j) to[j] = std::bit_cast<float>(static_cast<uint32_t>(values[j]) << 16);
}

void Weights::pack(kernels::Context& ctx) {
  lay_out(ctx);
  for (size_t i = 0; i < device_.size(); ++i)
    kernels::copy_in(device_[i].data(), values_[i].data(), values_[i].size() * sizeof(float), ctx);
  make_compute_copies(ctx);
}

void* Weights::arriving(size_t i, kernels::Context& ctx) {
  FULMEN_CHECK(kernels::packed_is_rows(ctx), "weights: bytes arrive in the memory of a device, this one is the host");
  if (!packed()) lay_out(ctx);
  return wire_dtype(i) == DType::kBf16 ? const_cast<void*>(packed_[i].data) : device_[i].data();
}

const void* Weights::departing(size_t i) const {
  FULMEN_CHECK(packed() && !device_.empty(), "weights: not packed to a device from which they could depart");
  return wire_dtype(i) == DType::kBf16 ? packed_[i].data : device_[i].data();
}

// Of a device: all values and compute copies in one piece.
void Weights::reserve(kernels::Context& ctx) const {
  constexpr size_t kGap = 256;  // between buffers
  size_t bytes = 0;
  for (size_t i = 0; i < specs_.size(); ++i) {
    bytes += values_[i].size() * sizeof(float) + kGap;
    if (uses_[i].linear)
      bytes += kernels::packed_bytes(specs_[i].shape[0], specs_[i].shape[1], uses_[i].compute) + kGap;
  }
  kernels::reserve(bytes, ctx);
}

void Weights::pack_trained(kernels::Context& ctx) {
  for (size_t i = 0; i < device_.size(); ++i)
    kernels::copy_out(values_[i].data(), device_[i].data(), values_[i].size() * sizeof(float), ctx);
  make_compute_copies(ctx);
}

void Weights::lay_out(kernels::Context& ctx) {
  if (!kernels::host_memory(ctx)) {
    if (device_.empty()) reserve(ctx);
    device_.resize(specs_.size());
    for (size_t i = 0; i < specs_.size(); ++i) device_[i].resize(values_[i].size(), ctx);
  }
  packed_.resize(specs_.size());
  const auto packed_floats = [&](size_t i) {  // whole cache lines
    return (kernels::packed_bytes(specs_[i].shape[0], specs_[i].shape[1], uses_[i].compute) + 63) / 64 * 16;
  };
  size_t floats = 0;
  for (size_t i = 0; i < specs_.size(); ++i) floats += uses_[i].linear ? packed_floats(i) : 0;
  panels_.resize(floats, ctx);
  float* panels = panels_.data();
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (!uses_[i].linear) continue;
    packed_[i] = {panels, uses_[i].compute, specs_[i].shape[0], specs_[i].shape[1]};
    panels += packed_floats(i);
  }
}

void Weights::make_compute_copies(kernels::Context& ctx, bool bf16_arrived) {
  bf16_rows_.resize(specs_.size());
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (!uses_[i].linear) continue;
    const auto& [data, dtype, N, K] = packed_[i];
    if (bf16_arrived && uses_[i].wire == DType::kBf16) continue;
    kernels::pack_weight(kernels::mat(device_values(i), N, K), dtype, const_cast<void*>(data), ctx);
    if (dtype == DType::kF32) continue;
    if (kernels::packed_is_rows(ctx)) continue;                // the packed copy is in the shape that backward wants
    bf16_rows_[i].resize(static_cast<size_t>(N * K + 1) / 2);  // backward multiplies by the rounded values too
    round_to(values_[i].data(), reinterpret_cast<uint16_t*>(bf16_rows_[i].data()), N * K, ctx);
  }
}

TensorRef Weights::rows(size_t i) const {
  const auto& shape = specs_[i].shape;
  if (shape.size() == 1) return kernels::vec(device_values(i), shape[0]);
  TensorRef ref = kernels::mat(device_values(i), shape[0], shape[1]);
  if (packed() && packed_[i].dtype == DType::kBf16) {
    ref.data = bf16_rows_[i].size() > 0 ? const_cast<float*>(bf16_rows_[i].data()) : const_cast<void*>(packed_[i].data);
    ref.dtype = DType::kBf16;
  }
  return ref;
}

TensorRef Weights::master(size_t i) const {
  return kernels::vec(device_values(i), static_cast<int64_t>(values_[i].size()));
}

base::Digest Weights::tensor_digest(size_t i) const {
  return base::digest128(values_[i].data(), values_[i].size() * sizeof(float));
}

base::Digest Weights::constants_digest() const {
  std::string text;
  std::vector<float> slope(static_cast<size_t>(config_.num_heads));
  for (int l = 0; l < config_.num_layers; ++l) {
    if (config_.softmax_layer(l)) continue;
    kernels::lightning_slopes(config_.num_heads, l, config_.num_layers, slope.data());
    text += "slopes " + std::to_string(l) + " " + base::hex(base::digest128(slope.data(), slope.size() * 4)) + "\n";
  }
  return base::digest128(text.data(), text.size());
}

base::Digest Weights::root_digest() const {
  std::string text;
  for (size_t i = 0; i < specs_.size(); ++i) {
    text += specs_[i].name;
    for (int64_t n : specs_[i].shape) text += " " + std::to_string(n);
    text += " " + base::hex(tensor_digest(i)) + "\n";
  }
  text += "constants " + base::hex(constants_digest()) + "\n";
  return base::digest128(text.data(), text.size());
}

}  // namespace fulmen::model
