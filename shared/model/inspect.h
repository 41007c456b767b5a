#pragma once
// What a config.json or a checkpoint holds, as text for people.

#include <string>

#include "shared/model/checkpoint_writer.h"
#include "shared/model/model_config.h"

namespace fulmen::model {

struct InspectOptions {
  bool list_tensors = false;  // every tensor by name instead of groups
  bool read_weights = true;   // compare stored bytes with the digests, where there are any
};

// path: a config.json, a directory with one and perhaps weights, which are then checked, or a run's checkpoint. Throws
// Error on the first defect.
std::string inspect(const std::string& path, const InspectOptions& options, const CheckpointProgress& progress = {});

std::string with_commas(int64_t n);  // 456,089,655,296

}  // namespace fulmen::model
