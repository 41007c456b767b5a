#pragma once
// What the engine needs of a model: a ragged batch in, logits of some rows out, and a cache of slots and pages. The one
// implementation outside of tests is the transformer; tests put a fake here that checks every slot and page it is
// handed.

#include <cstdint>
#include <memory>
#include <span>

#include "shared/model/transformer.h"

namespace fulmen::rollout {

struct CachePlan;

class ForwardPass {
 public:
  virtual ~ForwardPass() = default;
  virtual int64_t vocab_size() const = 0;
  // Appends the rows to the cache and writes logits (n, V) of the batch rows named in logit_rows (ascending).
  virtual void forward(const model::Batch& batch, std::span<const int32_t> logit_rows, kernels::TensorRef logits) = 0;
  virtual void set_weights(const model::Weights& weights) = 0;

  // Cache bookkeeping, as in model::Cache.
  virtual void copy_slot(int32_t from, int32_t to, int32_t position) = 0;
  virtual void copy_page(int32_t from, int32_t to) = 0;
  virtual void set_page(int32_t slot, int64_t nth, int32_t page) = 0;
};

// max_rows: rows of the largest batch. weights must be packed and outlive the result.
std::unique_ptr<ForwardPass> make_transformer_pass(const model::Weights& weights, kernels::DType cache_dtype,
                                                   const CachePlan& plan, int64_t max_rows, kernels::Context& ctx);

}  // namespace fulmen::rollout
