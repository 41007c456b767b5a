#include "shared/model/weights.h"

#include <sys/mman.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/lightning.h"
#include "kernels/thread_pool.h"
#include "shared/base/rng.h"

namespace fulmen::model {

using kernels::DType;
using kernels::TensorRef;

void Buffer::Free::operator()(float* p) const { std::free(p); }

void Buffer::resize(size_t floats) {
  if (floats > capacity_) {
    // Huge pages where they fit: walking gigabytes of weights in small ones costs as much as reading them.
    constexpr size_t kHugePage = size_t{2} << 20;
    const size_t align = floats * sizeof(float) >= 2 * kHugePage ? kHugePage : 64;
    const size_t bytes = (floats * sizeof(float) + align - 1) / align * align;
    data_.reset();  // first, so that old and new memory never stand side by side
    capacity_ = size_ = 0;
    data_.reset(static_cast<float*>(std::aligned_alloc(align, bytes)));
    FULMEN_CHECK(data_, "Buffer: no memory for " + std::to_string(bytes) + " bytes");
    if (align == kHugePage) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // advice only; may be refused
    std::memset(data_.get(), 0, bytes);
    capacity_ = floats;
  }
  size_ = floats;
}

Weights::Weights(const ModelConfig& config, DType weights_dtype)
    : config_(config), dtype_(weights_dtype), specs_(tensor_specs(config)) {
  values_.resize(specs_.size());
  for (size_t i = 0; i < specs_.size(); ++i) {
    values_[i].resize(static_cast<size_t>(specs_[i].numel()));
    index_.emplace(specs_[i].name, i);
  }
}

size_t Weights::index(const std::string& name) const {
  const auto it = index_.find(name);
  FULMEN_CHECK(it != index_.end(), "weights: this architecture has no tensor " + name);
  return it->second;
}

size_t Weights::lm_head_index() const {
  return has("lm_head.weight") ? index("lm_head.weight") : index("model.embed_tokens.weight");
}

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

bool Weights::linear(size_t i) const {
  return specs_[i].shape.size() == 2 && (specs_[i].name != "model.embed_tokens.weight" || i == lm_head_index());
}

DType Weights::compute_dtype(size_t i) const {
  const bool keep_fp32 =
      specs_[i].fp32_on_disk || i == lm_head_index() || specs_[i].name.ends_with(".coefficient.weight");
  return keep_fp32 ? DType::kF32 : dtype_;
}

namespace {

uint16_t bf16_nearest_even(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40);  // NaN stays NaN
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

}  // namespace

void Weights::pack(kernels::Context& ctx) {
  panels_.resize(specs_.size());
  bf16_rows_.resize(specs_.size());
  packed_.resize(specs_.size());
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (!linear(i)) continue;
    const int64_t N = specs_[i].shape[0], K = specs_[i].shape[1];
    const DType dtype = compute_dtype(i);
    panels_[i].resize((kernels::packed_bytes(N, K, dtype) + 3) / 4);
    kernels::pack_weight(kernels::mat(values_[i].data(), N, K), dtype, panels_[i].data(), ctx);
    packed_[i] = {panels_[i].data(), dtype, N, K};
    if (dtype == DType::kF32) continue;
    bf16_rows_[i].resize(static_cast<size_t>(N * K + 1) / 2);  // backward multiplies by the rounded values too
    const float* from = values_[i].data();
    auto* to = reinterpret_cast<uint16_t*>(bf16_rows_[i].data());
    ctx.pool->parallel_for(N * K, 1 << 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t j = begin; j < end; ++j) to[j] = bf16_nearest_even(from[j]);
    });
  }
}

TensorRef Weights::rows(size_t i) const {
  const auto& shape = specs_[i].shape;
  if (shape.size() == 1) return kernels::vec(values_[i].data(), shape[0]);
  TensorRef ref = kernels::mat(values_[i].data(), shape[0], shape[1]);
  if (packed() && packed_[i].dtype == DType::kBf16) {
    ref.data = const_cast<float*>(bf16_rows_[i].data());
    ref.dtype = DType::kBf16;
  }
  return ref;
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
