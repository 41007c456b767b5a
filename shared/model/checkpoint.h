#pragma once
// Hugging Face directories in the original M1 / Text-01 layout: config.json, model.safetensors.index.json, shards. Reading is
// index-driven (any shard numbering; a single model.safetensors without index too), by mmap, one tensor at a time.
// Errors name file and tensor: truncated shard, wrong shape, missing tensor, missing shard. Extra buffers (slope_rate ...) are
// skipped with one note.

#include <functional>
#include <string>

#include "shared/model/weights.h"

namespace fulmen::model {

struct CheckpointProgress {
  std::function<void(int64_t done, int64_t total, const std::string& name)> on_tensor;  // may be empty
};

void load_checkpoint(const std::string& dir, Weights& weights, const CheckpointProgress& progress = {});

enum class FileDType { kF32, kBf16 };  // router is always fp32 on disk

// Writes dir.tmp.PID, verifies every file by reading it back, renames to dir (an existing dir is replaced only after that).
// Shards of at most shard_bytes, numbered from 00000 as M1's are. tokenizer_dir: its tokenizer files are copied ("" = none).
void save_checkpoint(const std::string& dir, const Weights& weights, FileDType dtype, const std::string& tokenizer_dir = "",
                     int64_t shard_bytes = 2147483648, const CheckpointProgress& progress = {});

}  // namespace fulmen::model
