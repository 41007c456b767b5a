#include "learner/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/lm_head.h"
#include "kernels/optimizer.h"

namespace fulmen::learner {
namespace {

using kernels::mat;
using kernels::vec;

void grow(model::Buffer& b, size_t floats) {
  if (b.size() < floats) b.resize(floats);
}

}  // namespace

float scheduled_lr(const std::string& schedule, float lr, int64_t step, int64_t warmup, int64_t total) {
  if (step < warmup) return lr * static_cast<float>(step + 1) / static_cast<float>(warmup);
  const double progress = total > warmup ? static_cast<double>(step - warmup) / static_cast<double>(total - warmup) : 0;
  if (schedule == "cosine") return static_cast<float>(lr * 0.5 * (1 + std::cos(M_PI * std::min(1.0, progress))));
  if (schedule == "linear") return static_cast<float>(lr * std::max(0.0, 1 - progress));
  return lr;
}

OptimizerState::OptimizerState(const model::Weights& weights) {
  for (const model::TensorSpec& spec : weights.specs()) {
    m.emplace_back(static_cast<size_t>(spec.numel()));
    v.emplace_back(static_cast<size_t>(spec.numel()));
  }
}

Trainer::Trainer(model::Weights& weights, kernels::DType cache_dtype, bool recompute, int64_t micro_batch_tokens,
                 kernels::Context& ctx)
    : weights_(weights),
      ctx_(ctx),
      micro_batch_tokens_(micro_batch_tokens),
      transformer_(weights, cache_dtype, ctx),
      tape_(weights.config(), recompute),
      optimizer_(weights) {}

Trainer::~Trainer() = default;

void Trainer::forward_micro_batch(const MicroBatch& b, float inv_temperature, bool want_entropy, model::Tape* tape,
                                  model::Observer* observer) {
  const int64_t T = static_cast<int64_t>(b.tokens.size()), M = static_cast<int64_t>(b.rows.size());
  const int64_t C = weights_.config().hidden_size;
  grow(hidden_, static_cast<size_t>(T * C));
  grow(target_hidden_, static_cast<size_t>(M * C));
  for (model::Buffer* p : {&logprob_, &entropy_, &dlogprob_, &dentropy_}) grow(*p, static_cast<size_t>(M));
  grow(lse_, static_cast<size_t>(2 * M));

  transformer_.forward({b.tokens, b.segments}, nullptr, tape, mat(hidden_.data(), T, C), observer);
  // Only rows that predict a target go through the LM head: the kernel is row-invariant, so picking rows keeps their
  // bits.
  for (int64_t i = 0; i < M; ++i)
    std::memcpy(target_hidden_.data() + i * C, hidden_.data() + b.rows[static_cast<size_t>(i)] * C,
                static_cast<size_t>(C) * sizeof(float));
  kernels::lm_head_forward({.h = mat(target_hidden_.data(), M, C),
                            .w = weights_.packed(transformer_.lm_head_index()),
                            .target = b.targets,
                            .inv_temperature = inv_temperature,
                            .logprob = vec(logprob_.data(), M),
                            .entropy = want_entropy ? vec(entropy_.data(), M) : kernels::TensorRef{},
                            .lse = mat(lse_.data(), M, 2)},
                           ctx_);
}

void Trainer::backward_micro_batch(const MicroBatch& b, float inv_temperature, bool entropy_gradient) {
  const int64_t T = static_cast<int64_t>(b.tokens.size()), M = static_cast<int64_t>(b.rows.size());
  const int64_t C = weights_.config().hidden_size;
  if (!grads_) grads_ = std::make_unique<model::Gradients>(weights_.specs());
  grow(dhidden_, static_cast<size_t>(T * C));
  grow(dtarget_hidden_, static_cast<size_t>(M * C));

  const size_t head = transformer_.lm_head_index();
  kernels::lm_head_backward({.h = mat(target_hidden_.data(), M, C),
                             .w = weights_.packed(head),
                             .w_rows = weights_.rows(head),
                             .target = b.targets,
                             .inv_temperature = inv_temperature,
                             .lse = mat(lse_.data(), M, 2),
                             .entropy = entropy_gradient ? vec(entropy_.data(), M) : kernels::TensorRef{},
                             .dlogprob = vec(dlogprob_.data(), M),
                             .dentropy = entropy_gradient ? vec(dentropy_.data(), M) : kernels::TensorRef{},
                             .dh = mat(dtarget_hidden_.data(), M, C),
                             .dw = mat(grads_->tensor(head).data(), weights_.specs()[head].shape[0], C)},
                            ctx_);
  std::memset(dhidden_.data(), 0, static_cast<size_t>(T * C) * sizeof(float));
  for (int64_t i = 0; i < M; ++i)
    std::memcpy(dhidden_.data() + b.rows[static_cast<size_t>(i)] * C, dtarget_hidden_.data() + i * C,
                static_cast<size_t>(C) * sizeof(float));
  transformer_.backward({b.tokens, b.segments}, tape_, mat(dhidden_.data(), T, C), *grads_);
}

void Trainer::score(std::span<const Sequence> sequences, float inv_temperature, std::vector<std::vector<float>>& out,
                    model::Observer* observer) {
  out.assign(sequences.size(), {});
  for (const MicroBatch& b : pack(sequences, micro_batch_tokens_)) {
    forward_micro_batch(b, inv_temperature, false, nullptr, observer);
    const float* p = logprob_.data();
    for (size_t i = b.first; i < b.first + b.count; ++i) {
      out[i].assign(p, p + sequences[i].target.size());
      p += sequences[i].target.size();
    }
  }
}

void Trainer::accumulate(std::span<const Sequence> sequences, float inv_temperature, bool entropy_gradient,
                         const LossFn& loss, const std::function<void(int64_t)>& on_rows) {
  for (const MicroBatch& b : pack(sequences, micro_batch_tokens_)) {
    forward_micro_batch(b, inv_temperature, true, &tape_, nullptr);
    std::fill_n(dlogprob_.data(), b.rows.size(), 0.0f);
    std::fill_n(dentropy_.data(), b.rows.size(), 0.0f);
    size_t at = 0;
    for (size_t i = b.first; i < b.first + b.count; ++i) {
      const size_t n = sequences[i].target.size();
      loss(i, {logprob_.data() + at, n}, {entropy_.data() + at, n}, {dlogprob_.data() + at, n},
           {dentropy_.data() + at, n});
      at += n;
    }
    backward_micro_batch(b, inv_temperature, entropy_gradient);
    if (on_rows) on_rows(static_cast<int64_t>(b.tokens.size()));
  }
}

double Trainer::optimizer_step(const AdamWSettings& s) {
  FULMEN_CHECK(grads_ != nullptr, "optimizer_step: no gradient has been accumulated");
  std::vector<kernels::TensorRef> grads;
  for (size_t i = 0; i < grads_->size(); ++i)
    grads.push_back(vec(grads_->tensor(i).data(), static_cast<int64_t>(grads_->tensor(i).size())));
  const double norm = std::sqrt(kernels::global_sum_of_squares(grads, ctx_));
  if (!std::isfinite(norm)) {
    for (size_t i = 0; i < grads.size(); ++i)
      if (!std::isfinite(kernels::global_sum_of_squares({&grads[i], 1}, ctx_)))
        throw Error("gradient norm is not finite, first in " + weights_.specs()[i].name + ", update " +
                    std::to_string(optimizer_.step + 1));
    throw Error("gradient norm overflows fp64, update " + std::to_string(optimizer_.step + 1));
  }
  const double scale = s.grad_clip > 0 && norm > s.grad_clip ? s.grad_clip / norm : 1.0;
  ++optimizer_.step;
  std::vector<kernels::AdamW> updates;
  for (size_t i = 0; i < grads.size(); ++i) {
    const int64_t n = grads[i].dim[0];
    const bool decays = weights_.specs()[i].shape.size() > 1;  // norms are not decayed
    updates.push_back({.param = vec(weights_.tensor(i).data(), n),
                       .grad = grads[i],
                       .m = vec(optimizer_.m[i].data(), n),
                       .v = vec(optimizer_.v[i].data(), n),
                       .lr = s.lr,
                       .beta1 = s.beta1,
                       .beta2 = s.beta2,
                       .eps = s.eps,
                       .weight_decay = decays ? s.weight_decay : 0.0f,
                       .grad_scale = static_cast<float>(scale),
                       .step = optimizer_.step,
                       .zero_grad = true});
  }
  kernels::adamw_step(updates, ctx_);
  weights_.pack(ctx_);
  return norm;
}

}  // namespace fulmen::learner
