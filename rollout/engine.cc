#include "rollout/engine.h"

#include "rollout/batch_engine.h"

namespace fulmen::rollout {

std::unique_ptr<Engine> make_engine(const model::Weights& weights, kernels::DType cache_dtype,
                                    const EngineLimits& limits, const model::Tokenizer* tokenizer,
                                    kernels::Context& ctx) {
  const model::ModelConfig& c = weights.config();
  const int64_t slot = model::Cache::slot_bytes(c, cache_dtype), page = model::Cache::page_bytes(c, cache_dtype);
  const CachePlan plan = plan_cache(slot, page, limits);
  check_device_memory(plan, slot, page, c.vocab_size, kernels::bytes_free(ctx));
  // In one piece, with room for the buffers of a step.
  const int64_t rows = plan.slots + limits.prefill_rows;
  kernels::reserve(static_cast<size_t>(plan.slots * (slot + int64_t{4} * c.vocab_size) + plan.pages * page +
                                       rows * c.hidden_size * 8 + (int64_t{1} << 20)),
                   ctx);
  const int32_t end_token = end_token_of(tokenizer, c);
  return std::make_unique<BatchEngine>(
      make_transformer_pass(weights, cache_dtype, plan, plan.slots + limits.prefill_rows, ctx), plan, limits, tokenizer,
      end_token, !kernels::host_memory(ctx), ctx);
}

}  // namespace fulmen::rollout
