#pragma once
// Weights <-> Hugging Face directories in the original M1 / Text-01 layout: config.json, model.safetensors.index.json,
// shards. Reading is index-driven (any shard numbering; a single model.safetensors without index too), by mmap, one
// tensor at a time; bf16, fp16 and fp32 become fp32. Errors name file and tensor: truncated shard, wrong shape, missing
// tensor, missing shard. Extra buffers (slope_rate ...) are skipped with one note.

#include <string>

#include "shared/model/checkpoint_writer.h"
#include "shared/model/weights.h"

namespace fulmen::model {

// weights' config decides which tensors are wanted; it usually comes from load_model_config(dir).
void load_checkpoint(const std::string& dir, Weights& weights, const CheckpointProgress& progress = {});

// Writes dir.tmp.PID, verifies every file by reading it back, renames to dir (an existing dir is replaced only after
// that). Shards of at most shard_bytes, numbered from 00000 as M1's are. tokenizer: as for load_tokenizer; its files
// go with the weights ("" = none).
void save_checkpoint(const std::string& dir, const Weights& weights, FileDType dtype, const std::string& tokenizer = "",
                     int64_t shard_bytes = 2147483648, const CheckpointProgress& progress = {});

}  // namespace fulmen::model
