#include "learner/divergence.h"

#include <vector>

#include "shared/base/file.h"

namespace fulmen::learner {
namespace {

struct Seen {
  int layer;
  std::string op;
  std::vector<uint64_t> row_hash;  // by position
};

class HashObserver : public model::Observer {
 public:
  std::vector<Seen> seen;
  void begin_piece() { at_ = 0; }  // the next forward appends rows to the same list of intermediates
  void see(int layer, const char* op, const kernels::TensorRef& rows) override {
    if (at_ == seen.size()) seen.push_back({layer, op, {}});
    Seen& s = seen[at_++];
    for (int64_t r = 0; r < rows.dim[0]; ++r)
      s.row_hash.push_back(base::digest64(rows.row(r), static_cast<size_t>(rows.dim[1]) * sizeof(float)));
  }

 private:
  size_t at_ = 0;
};

}  // namespace

Divergence find_divergence(const model::Weights& packed_side, const model::Weights& cached_side,
                           kernels::DType cache_dtype, const Sequence& sequence, kernels::Context& ctx) {
  const model::ModelConfig& config = packed_side.config();
  std::vector<int32_t> tokens(sequence.prompt.begin(), sequence.prompt.end());
  tokens.insert(tokens.end(), sequence.target.begin(), sequence.target.end() - 1);
  const int64_t T = static_cast<int64_t>(tokens.size()), C = config.hidden_size;
  model::Buffer hidden(static_cast<size_t>(T * C), ctx);

  HashObserver packed, cached;
  const kernels::Segment whole{.row0 = 0, .rows = static_cast<int32_t>(T), .pos0 = 0, .slot = -1};
  model::Transformer(packed_side, cache_dtype, ctx)
      .forward({tokens, {&whole, 1}}, nullptr, nullptr, kernels::mat(hidden.data(), T, C), &packed);

  const int64_t pages = (T + kernels::kAttentionTile - 1) / kernels::kAttentionTile;
  model::Cache cache(config, cache_dtype, 1, pages, pages, &ctx);
  for (int64_t p = 0; p < pages; ++p) cache.set_page(0, p, static_cast<int32_t>(p));
  model::Transformer decoder(cached_side, cache_dtype, ctx);
  for (int64_t pos = 0; pos < T;) {
    const int64_t rows = pos == 0 ? static_cast<int64_t>(sequence.prompt.size()) : 1;
    const kernels::Segment piece{
        .row0 = 0, .rows = static_cast<int32_t>(rows), .pos0 = static_cast<int32_t>(pos), .slot = 0};
    cached.begin_piece();
    decoder.forward({{tokens.data() + pos, static_cast<size_t>(rows)}, {&piece, 1}}, &cache, nullptr,
                    kernels::mat(hidden.data(), rows, C), &cached);
    pos += rows;
  }

  Divergence d;
  for (int64_t pos = 0; pos < T; ++pos)
    for (size_t i = 0; i < packed.seen.size() && i < cached.seen.size(); ++i) {
      const auto at = static_cast<size_t>(pos);
      // Intermediates whose rows are not the batch's rows (experts' sorted rows) cannot be matched by position.
      if (packed.seen[i].row_hash.size() != static_cast<size_t>(T) ||
          cached.seen[i].row_hash.size() != static_cast<size_t>(T))
        continue;
      if (packed.seen[i].row_hash[at] != cached.seen[i].row_hash[at])
        return {.found = true, .layer = packed.seen[i].layer, .op = packed.seen[i].op, .position = pos};
    }
  return d;
}

std::string describe(const Divergence& d, const model::ModelConfig& config) {
  if (!d.found)
    return "packed forward and cached decode agree in this process, so the worker computed with other weights, kernels "
           "or "
           "hardware";
  const std::string where =
      d.layer < 0 ? "the embedding"
      : d.layer >= config.num_layers
          ? "the final norm"
          : "layer " + std::to_string(d.layer) + (config.softmax_layer(d.layer) ? " (softmax)" : " (lightning)");
  return "the paths part at position " + std::to_string(d.position) + ", " + where + ", after " + d.op;
}

}  // namespace fulmen::learner
