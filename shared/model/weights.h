#pragma once
// The parameters of one weights version, in memory: fp32 rows in the layout of tensor_specs(), and the packed compute
// copies that the kernels read. The learner trains the fp32 values; rollout receives them and packs. Not thread-safe; a
// version is shared read-only through shared_ptr<const Weights>.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/linear.h"
#include "kernels/memory.h"
#include "shared/base/config.h"
#include "shared/base/file.h"
#include "shared/model/model_config.h"

namespace fulmen::model {

// 64-byte aligned storage of 4-byte elements (fp32 unless said otherwise) that owns its memory: the host's, or with a
// context that of its device. Outgrowing the largest size so far reallocates and zeroes everything; any other resize
// keeps memory and contents.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t floats) { resize(floats); }
  Buffer(size_t floats, kernels::Context& ctx) { resize(floats, ctx); }
  void resize(size_t floats);
  void resize(size_t floats, kernels::Context& ctx);
  float* data() { return static_cast<float*>(data_.get()); }
  const float* data() const { return static_cast<const float*>(data_.get()); }
  size_t size() const { return size_; }

 private:
  void take(kernels::DeviceMemory memory, size_t floats);

  kernels::DeviceMemory data_;
  size_t size_ = 0, capacity_ = 0;
};

// What linear weights are multiplied as; sums are fp32 in any case. Router and shared-expert coefficient: always fp32.
struct ComputeDtypes {
  kernels::DType weights, head;  // head: the LM head, rollout's and the learner's
  ComputeDtypes(kernels::DType of_weights, kernels::DType of_head = kernels::DType::kF32)
      : weights(of_weights), head(of_head) {}
  explicit ComputeDtypes(const base::ModelSection& config);
};

// How a tensor is used. This is the only place that says which stay fp32.
struct TensorUse {
  bool linear;             // multiplied from a packed copy
  kernels::DType compute;  // of that copy
  kernels::DType wire;     // as it travels to a rollout worker: what its forward reads and no more
};
TensorUse use_of(const TensorSpec& spec, const ModelConfig& config, const ComputeDtypes& dtypes);

class Weights {
 public:
  Weights(const ModelConfig& config, const ComputeDtypes& dtypes);  // zeroed parameters

  const ModelConfig& config() const { return config_; }
  const std::vector<TensorSpec>& specs() const { return specs_; }
  size_t num_tensors() const { return specs_.size(); }

  std::span<float> tensor(size_t i) { return {values_[i].data(), values_[i].size()}; }
  std::span<const float> tensor(size_t i) const { return {values_[i].data(), values_[i].size()}; }
  size_t index(const std::string& name) const;  // throws Error naming the tensor
  bool has(const std::string& name) const { return index_.count(name) != 0; }
  size_t lm_head_index() const;  // lm_head.weight, or the embedding when a config ties them

  // normal(0, initializer_range), norms 1. A tensor's values depend on the seed and its name only.
  void init_random(uint64_t seed);
  // Refreshes every compute copy after the values changed. The copies stay where the first call put them. On a device
  // the values are sent there first (pack) or, after they were trained there, fetched from there (pack_trained).
  void pack(kernels::Context& ctx);
  void pack_trained(kernels::Context& ctx);
  // On a device, for a version whose bytes come from there: where those of tensor i go, in its wire_dtype, and the
  // compute copies once all are there. The values on the host stay what they were.
  void* arriving(size_t i, kernels::Context& ctx);
  const void* departing(size_t i) const;  // on a device, after pack: tensor i in its wire_dtype
  void pack_arrived(kernels::Context& ctx) { make_compute_copies(ctx, true); }
  bool packed() const { return !packed_.empty(); }

  // Compute copies, valid after pack(). Index by tensor; only for linear weights.
  const kernels::PackedWeight& packed(size_t i) const { return packed_[i]; }
  // The values that forward used, in their own shape: the fp32 tensor itself, or its bf16 copy when that was packed.
  kernels::TensorRef rows(size_t i) const;
  // The fp32 values where kernels can reach them, flat: what the optimizer updates. Valid after pack().
  kernels::TensorRef master(size_t i) const;

  // A worker that packs what came in this dtype has the same compute copies as if the fp32 values had come.
  kernels::DType wire_dtype(size_t i) const { return uses_[i].wire; }
  std::vector<uint16_t> to_bf16(size_t i, kernels::Context& ctx) const;  // rounded to nearest even, as pack does
  void from_bf16(size_t i, std::span<const uint16_t> values);

  base::Digest tensor_digest(size_t i) const;  // of the fp32 bytes
  base::Digest constants_digest() const;  // of what is derived and not stored: decay slopes of the lightning layers
  base::Digest root_digest() const;       // of names, shapes, digests and the constants

 private:
  void reserve(kernels::Context& ctx) const;
  ModelConfig config_;
  std::vector<TensorSpec> specs_;
  std::vector<TensorUse> uses_;
  std::unordered_map<std::string, size_t> index_;
  void lay_out(kernels::Context& ctx);  // memory of the device and of the compute copies
  void make_compute_copies(kernels::Context& ctx, bool bf16_arrived = false);
  const float* device_values(size_t i) const { return device_.empty() ? values_[i].data() : device_[i].data(); }

  std::vector<Buffer> values_, bf16_rows_;
  Buffer panels_;               // of all tensors, one after another: in one piece it gets huge pages
  std::vector<Buffer> device_;  // of values_, where the device's memory is not the host's
  std::vector<kernels::PackedWeight> packed_;
};

}  // namespace fulmen::model
