#pragma once
// Writes a Hugging Face directory in the original M1 layout by streaming: shards, model.safetensors.index.json,
// config.json, tokenizer files and model.safetensors.digests.json (XXH3-128 of every tensor's stored bytes, for
// `fulmen-model inspect`). Everything goes to DIR.tmp.PID, is read back and compared, and only then takes DIR's place.

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "shared/model/model_config.h"

namespace fulmen::model {

enum class FileDType { kF32, kBf16 };  // router is always fp32 on disk

struct CheckpointProgress {
  std::function<void(int64_t done, int64_t total, const std::string& name)> on_tensor;  // may be empty
};

// Fills `out` with values [first, first + out.size()) of tensor i of tensor_specs(). Asked in ascending order.
using TensorSource = std::function<void(size_t i, int64_t first, std::span<float> out)>;

struct CheckpointLayout {
  FileDType dtype = FileDType::kBf16;
  std::string tokenizer_dir;         // its tokenizer files (or this one tokenizer.json) are copied; "" = none
  int64_t shard_bytes = 2147483648;  // at most, unless one tensor is larger
  std::map<std::string, std::string> more_files{};  // name -> bytes, of a tokenizer that has no files of its own
};

// Throws Error naming the path if anything fails (disk full, unreadable tokenizer file, bytes that read back
// differently); an existing `dir` is then untouched. An existing directory is replaced only if it holds a config.json
// or is empty.
void write_checkpoint(const std::string& dir, const ModelConfig& config, const TensorSource& source,
                      const CheckpointLayout& layout, const CheckpointProgress& progress = {});

// Copies a checkpoint, also one of a run, to the original layout. Never holds more than a piece of a tensor in memory.
void copy_checkpoint(const std::string& from, const std::string& to, FileDType dtype,
                     const CheckpointProgress& progress = {});

// The narrowest dtype that keeps every value of a checkpoint: bf16 if all but its routers are stored so.
FileDType lossless_dtype(const std::string& dir);

// Compares every tensor with model.safetensors.digests.json. Throws Error naming file and tensor that differ; false if
// the directory has no such file.
bool verify_digests(const std::string& dir, const CheckpointProgress& progress = {});

}  // namespace fulmen::model
