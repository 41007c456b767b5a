#pragma once
// Which weights of a model run.products lets a library multiply (kernels::Device::use_library).

#include <vector>

#include "kernels/device.h"
#include "shared/base/config.h"

namespace fulmen::model {

// Of the linear weights in bf16, each shape once. Not experts, which are multiplied together; of the LM head the chunk
// that the learner does at a time.
std::vector<kernels::LinearShape> library_shapes(const base::ModelSection& config);

}  // namespace fulmen::model
