#include "shared/model/library_shapes.h"

#include <algorithm>

#include "kernels/lm_head.h"
#include "shared/model/weights.h"

namespace fulmen::model {

std::vector<kernels::LinearShape> library_shapes(const base::ModelSection& config) {
  const ModelConfig model = load_model_config(config.path);
  const ComputeDtypes dtypes(config);
  std::vector<kernels::LinearShape> shapes;
  for (const TensorSpec& spec : tensor_specs(model)) {
    const TensorUse use = use_of(spec, model, dtypes);
    if (!use.linear || use.compute != kernels::DType::kBf16 || spec.name.find(".experts.") != std::string::npos)
      continue;
    const bool head = spec.shape[0] == model.vocab_size;
    const kernels::LinearShape shape{head ? std::min(spec.shape[0], kernels::kVocabChunk) : spec.shape[0],
                                     spec.shape[1]};
    if (std::find(shapes.begin(), shapes.end(), shape) == shapes.end()) shapes.push_back(shape);
  }
  return shapes;
}

}  // namespace fulmen::model
