#pragma once
// Prompts drawn from several sources by weight: generated tasks and files (dataset.h says what is promised).

#include <memory>
#include <string>

#include "learner/dataset.h"

namespace fulmen::learner {

// data.task, as a mix of one, or data.mix. For kEval: the tasks of it alone.
std::unique_ptr<Dataset> make_mix(const base::Config& config, Split split, const model::Tokenizer& tokenizer);

std::unique_ptr<Dataset> make_file_dataset(const base::Config& config, const std::string& path,
                                           const model::Tokenizer& tokenizer);

}  // namespace fulmen::learner
