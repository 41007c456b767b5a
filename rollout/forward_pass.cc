#include "rollout/forward_pass.h"

#include <optional>

#include "kernels/recording.h"
#include "rollout/cache_plan.h"

namespace fulmen::rollout {
namespace {

class TransformerPass final : public ForwardPass {
 public:
  TransformerPass(const model::Weights& weights, kernels::DType cache_dtype, const CachePlan& plan, int64_t max_rows,
                  kernels::Context& ctx)
      : ctx_(ctx),
        cache_(weights.config(), cache_dtype, plan.slots, plan.pages, plan.max_pages_per_slot, &ctx),
        transformer_(std::make_unique<model::Transformer>(weights, cache_dtype, ctx)),
        width_(weights.config().hidden_size),
        vocab_(weights.config().vocab_size),
        hidden_(static_cast<size_t>(max_rows * width_), ctx),
        chosen_(static_cast<size_t>(max_rows * width_), ctx) {}

  int64_t vocab_size() const override { return vocab_; }

  void forward(const model::Batch& batch, std::span<const int32_t> logit_rows, kernels::TensorRef logits) override {
    const auto rows = static_cast<int64_t>(batch.tokens.size());
    const bool decode = batch.segments.size() == batch.tokens.size();  // one row each: no prompt among them
    cache_.send_page_table();                                          // may wait, which a recorded step must not
    std::optional<kernels::Recording> step;
    if (decode && !kernels::host_memory(ctx_)) step.emplace(static_cast<uint64_t>(kernels::decode_bucket(rows)), ctx_);
    run(batch, logit_rows, logits);
    if (step) step->launch();
  }

  void set_weights(const model::Weights& weights) override {
    FULMEN_CHECK(weights.config().hidden_size == width_ && weights.config().vocab_size == vocab_,
                 "engine: new weights are of another architecture");
    transformer_ = std::make_unique<model::Transformer>(weights, cache_.kv(), ctx_);
  }

  void copy_slot(int32_t from, int32_t to, int32_t position) override { cache_.copy_slot(from, to, position); }
  void copy_page(int32_t from, int32_t to) override { cache_.copy_page(from, to); }
  void set_page(int32_t slot, int64_t nth, int32_t page) override { cache_.set_page(slot, nth, page); }

 private:
  void run(const model::Batch& batch, std::span<const int32_t> logit_rows, kernels::TensorRef logits) {
    const auto rows = static_cast<int64_t>(batch.tokens.size());
    transformer_->forward(batch, &cache_, nullptr, kernels::mat(hidden_.data(), rows, width_));
    if (logit_rows.empty()) return;
    // The LM head reads every weight once for all rows it is given: only the rows that are sampled go in.
    const kernels::TensorRef chosen = kernels::mat(chosen_.data(), static_cast<int64_t>(logit_rows.size()), width_);
    kernels::copy_rows({kernels::mat(hidden_.data(), rows, width_), logit_rows, chosen, {}}, ctx_);
    transformer_->logits(chosen, logits);
  }

  kernels::Context& ctx_;
  model::Cache cache_;
  std::unique_ptr<model::Transformer> transformer_;
  int64_t width_, vocab_;
  model::Buffer hidden_, chosen_;  // (max_rows, C)
};

}  // namespace

std::unique_ptr<ForwardPass> make_transformer_pass(const model::Weights& weights, kernels::DType cache_dtype,
                                                   const CachePlan& plan, int64_t max_rows, kernels::Context& ctx) {
  return std::make_unique<TransformerPass>(weights, cache_dtype, plan, max_rows, ctx);
}

}  // namespace fulmen::rollout
