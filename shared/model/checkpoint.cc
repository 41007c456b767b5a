#include "shared/model/checkpoint.h"

#include <algorithm>

#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/model/checkpoint_reader.h"
#include "shared/model/tokenizer.h"

namespace fulmen::model {

void load_checkpoint(const std::string& dir, Weights& weights, const CheckpointProgress& progress) {
  const CheckpointReader reader(dir, weights.config());
  const size_t n = weights.num_tensors();
  for (size_t i = 0; i < n; ++i) {
    reader.read(i, 0, weights.tensor(i));
    if (progress.on_tensor)
      progress.on_tensor(static_cast<int64_t>(i) + 1, static_cast<int64_t>(n), weights.specs()[i].name);
  }
  if (!reader.skipped().empty())
    base::info("{}: {} stored tensors are no parameters and were skipped, for example {}", dir, reader.skipped().size(),
               reader.skipped()[0]);
}

void save_checkpoint(const std::string& dir, const Weights& weights, FileDType dtype, const std::string& tokenizer,
                     int64_t shard_bytes, const CheckpointProgress& progress) {
  auto source = [&](size_t i, int64_t first, std::span<float> out) {
    const auto values = weights.tensor(i).subspan(static_cast<size_t>(first), out.size());
    std::copy(values.begin(), values.end(), out.begin());
  };
  CheckpointLayout layout{.dtype = dtype, .tokenizer_dir = "", .shard_bytes = shard_bytes, .more_files = {}};
  if (tokenizer == "byte")
    layout.more_files = byte_tokenizer_files();
  else if (tokenizer.starts_with("m1:"))
    layout.more_files["merges.txt"] = base::read_file(tokenizer.substr(3));
  else
    layout.tokenizer_dir = tokenizer;
  write_checkpoint(dir, weights.config(), source, layout, progress);
}

}  // namespace fulmen::model
