#pragma once
// The tensors of a Hugging Face directory, found through model.safetensors.index.json (any shard numbering) or in a
// single model.safetensors. The constructor checks that every tensor of tensor_specs() is there with its shape before a
// value is read; nothing is held in memory but the headers. Besides the original names it knows those of transformers
// v5 (mlp.gate, mlp.experts.gate_up_proj, mlp.experts.down_proj).

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shared/model/model_config.h"
#include "shared/model/safetensors.h"

namespace fulmen::model {

class CheckpointReader {
 public:
  // Throws Error naming file and tensor: missing shard, missing or unexpected tensor, wrong shape, truncated file.
  CheckpointReader(const std::string& dir /* or what weights_directory() knows */, const ModelConfig& config);

  const std::vector<TensorSpec>& specs() const { return specs_; }
  StoredDType dtype(size_t i) const { return places_[i].tensor->dtype; }
  const std::string& file(size_t i) const { return places_[i].file->path(); }
  std::span<const uint8_t> stored_bytes(size_t i) const;  // valid while this object lives

  // Values [first, first + out.size()) of tensor i as fp32.
  void read(size_t i, int64_t first, std::span<float> out) const;

  // Tensors that belong to no parameter and were skipped: decay buffers of native files, lm_head of a tied model.
  const std::vector<std::string>& skipped() const { return skipped_; }
  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }

 private:
  struct Place {  // where a tensor's values lie: part of a stored tensor, from element `first`
    const SafetensorsFile* file = nullptr;
    const StoredTensor* tensor = nullptr;
    int64_t first = 0;
  };
  struct Catalog;
  Place place_of(const TensorSpec& spec, const ModelConfig& config, Catalog& catalog) const;

  std::vector<TensorSpec> specs_;
  std::vector<Place> places_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<std::string> skipped_;
};

// True if weights_directory(dir) holds an index or a single weights file.
bool has_weights(const std::string& dir);

}  // namespace fulmen::model
