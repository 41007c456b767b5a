#include "learner/parts.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "kernels/memory.h"
#include "kernels/table.h"
#include "learner/plan.h"
#include "shared/base/log.h"
#include "shared/model/checkpoint.h"
#include "shared/model/checkpoint_reader.h"
#include "shared/model/library_shapes.h"

namespace fulmen::learner {
namespace {

namespace fs = std::filesystem;

int threads_of(const base::Config& c) {
  if (c.run.threads > 0) return c.run.threads;
  return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) / c.learner.ranks);
}

}  // namespace

LearnerParts::LearnerParts(const base::Config& c, int rank)
    : config(c),
      tokenizer(model::load_tokenizer(c.model.tokenizer)),
      pool(threads_of(c)),
      device(kernels::nth_device(c.run.device, rank), pool),
      ctx(device.context()),
      cache_dtype(c.model.cache_dtype == "bf16" ? kernels::DType::kBf16 : kernels::DType::kF32) {
  const model::ComputeDtypes dtypes(c.model);
  const model::ModelConfig mc = model::load_model_config(c.model.path);
  if (tokenizer->vocab_size() > mc.vocab_size)
    throw base::ConfigError("model.tokenizer " + c.model.tokenizer + " has " + std::to_string(tokenizer->vocab_size()) +
                            " tokens, want <= vocab_size " + std::to_string(mc.vocab_size) + " of " + c.model.path);
  if (!kernels::host_memory(ctx) && rank == 0) {  // too little is found before the first step, not in the middle of one
    const std::string why = device_advice(c, mc, static_cast<int64_t>(kernels::bytes_free(ctx)));
    if (!why.empty()) throw base::ConfigError(why);
  }
  if (c.run.products == "library")
    base::info("matrix products: {}", device.use_library(model::library_shapes(c.model)));
  weights = std::make_unique<model::Weights>(mc, dtypes);
  if (model::has_weights(c.model.path))
    model::load_checkpoint(c.model.path, *weights);
  else
    weights->init_random(static_cast<uint64_t>(c.run.seed));
  weights->pack(ctx);
  kernels::reserve(static_cast<size_t>(make_plan(c, mc).learner.moments) + 1024 * weights->num_tensors(), ctx);
  trainer = std::make_unique<Trainer>(*weights, cache_dtype, c.model.recompute, c.optimizer.micro_batch_tokens, ctx,
                                      c.learner.shards);
  numerics = model::numerics_digest(ctx, mc, cache_dtype, dtypes);
}

void LearnerParts::begin_phase() {
  const RoleMemory m = make_plan(config, weights->config()).learner;
  if (config.rollout.in_turn || !phase_reserved_)
    kernels::reserve(static_cast<size_t>(m.gradients + m.activations), ctx);
  phase_reserved_ = true;
}

void LearnerParts::end_phase() {
  if (config.rollout.in_turn) trainer->end_phase();
}

}  // namespace fulmen::learner
