#include "learner/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/lm_head.h"
#include "kernels/optimizer.h"
#include "kernels/pointwise.h"

namespace fulmen::learner {
namespace {

using kernels::mat;
using kernels::vec;

void grow(model::Buffer& b, size_t floats, kernels::Context& ctx) {
  if (b.size() < floats) b.resize(floats, ctx);
}

}  // namespace

float scheduled_lr(const std::string& schedule, float lr, int64_t step, int64_t warmup, int64_t total) {
  if (step < warmup) return lr * static_cast<float>(step + 1) / static_cast<float>(warmup);
  const double progress = total > warmup ? static_cast<double>(step - warmup) / static_cast<double>(total - warmup) : 0;
  if (schedule == "cosine") return static_cast<float>(lr * 0.5 * (1 + std::cos(M_PI * std::min(1.0, progress))));
  if (schedule == "linear") return static_cast<float>(lr * std::max(0.0, 1 - progress));
  return lr;
}

OptimizerState::OptimizerState(const model::Weights& weights, kernels::Context& ctx) {
  for (const model::TensorSpec& spec : weights.specs()) {
    m.emplace_back(static_cast<size_t>(spec.numel()), ctx);
    v.emplace_back(static_cast<size_t>(spec.numel()), ctx);
  }
}

Trainer::Trainer(model::Weights& weights, kernels::DType cache_dtype, bool recompute, int64_t micro_batch_tokens,
                 kernels::Context& ctx, int shards)
    : weights_(weights),
      ctx_(ctx),
      micro_batch_tokens_(micro_batch_tokens),
      transformer_(weights, cache_dtype, ctx),
      tape_(weights.config(), recompute),
      shards_(shards),
      alone_(collective::make_self()),
      ranks_(alone_.get()),
      optimizer_(weights, ctx) {}

Trainer::~Trainer() = default;

void Trainer::join(collective::Collective& ranks) { ranks_ = &ranks; }

void Trainer::check_ranks_agree() {
  if (ranks_->size() == 1) return;
  const base::Digest own = weights_.root_digest();
  const auto all = ranks_->allgather({reinterpret_cast<const char*>(own.data()), own.size()});
  for (size_t r = 1; r < all.size(); ++r)
    FULMEN_CHECK(all[r] == all[0], "learner rank " + std::to_string(r) + " of " + std::to_string(all.size()) +
                                       " holds other weights than rank 0 after update " +
                                       std::to_string(optimizer_.step) + " (want the same bits on all ranks)");
}

void Trainer::forward_micro_batch(const MicroBatch& b, float inv_temperature, bool want_entropy, model::Tape* tape,
                                  model::Observer* observer) {
  const int64_t T = static_cast<int64_t>(b.tokens.size()), M = static_cast<int64_t>(b.rows.size());
  const int64_t C = weights_.config().hidden_size;
  grow(hidden_, static_cast<size_t>(T * C), ctx_);
  grow(target_hidden_, static_cast<size_t>(M * C), ctx_);
  for (model::Buffer* p : {&logprob_, &entropy_, &dlogprob_, &dentropy_}) grow(*p, static_cast<size_t>(M), ctx_);
  grow(lse_, static_cast<size_t>(2 * M), ctx_);

  transformer_.forward({b.tokens, b.segments}, nullptr, tape, mat(hidden_.data(), T, C), observer);
  // Only rows that predict a target go through the LM head: the kernel is row-invariant, so picking rows keeps their
  // bits.
  if (M > 0) kernels::copy_rows({mat(hidden_.data(), T, C), b.rows, mat(target_hidden_.data(), M, C), {}}, ctx_);
  kernels::lm_head_forward({.h = mat(target_hidden_.data(), M, C),
                            .w = weights_.packed(transformer_.lm_head_index()),
                            .target = b.targets,
                            .inv_temperature = inv_temperature,
                            .logprob = vec(logprob_.data(), M),
                            .entropy = want_entropy ? vec(entropy_.data(), M) : kernels::TensorRef{},
                            .lse = mat(lse_.data(), M, 2)},
                           ctx_);
  for (auto [to, from] : {std::pair{&host_logprob_, &logprob_}, std::pair{&host_entropy_, &entropy_}}) {
    to->resize(static_cast<size_t>(M));
    if (from == &logprob_ || want_entropy)
      kernels::copy_out(to->data(), from->data(), to->size() * sizeof(float), ctx_);
  }
}

void Trainer::backward_micro_batch(const MicroBatch& b, float inv_temperature, bool entropy_gradient,
                                   model::Gradients& grads) {
  const int64_t T = static_cast<int64_t>(b.tokens.size()), M = static_cast<int64_t>(b.rows.size());
  const int64_t C = weights_.config().hidden_size;
  grow(dhidden_, static_cast<size_t>(T * C), ctx_);
  grow(dtarget_hidden_, static_cast<size_t>(M * C), ctx_);

  kernels::copy_in(dlogprob_.data(), host_dlogprob_.data(), static_cast<size_t>(M) * sizeof(float), ctx_);
  if (entropy_gradient)
    kernels::copy_in(dentropy_.data(), host_dentropy_.data(), static_cast<size_t>(M) * sizeof(float), ctx_);

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
                             .dw = mat(grads.tensor(head).data(), weights_.specs()[head].shape[0], C)},
                            ctx_);
  kernels::fill_zero(dhidden_.data(), static_cast<size_t>(T * C) * sizeof(float), ctx_);
  if (M > 0) kernels::copy_rows({mat(dtarget_hidden_.data(), M, C), {}, mat(dhidden_.data(), T, C), b.rows}, ctx_);
  transformer_.backward({b.tokens, b.segments}, tape_, mat(dhidden_.data(), T, C), grads);
}

// Every rank learns what the others found for their sequences; [first, first + count) are this rank's.
void Trainer::gather(size_t first, size_t count, std::vector<TargetScores>& scores, bool entropy) {
  if (ranks_->size() == 1) return;
  std::string own;
  const auto put = [&](const std::vector<float>& v) {
    own.append(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(float));
  };
  for (size_t i = first; i < first + count; ++i) {
    put(scores[i].logprob);
    if (entropy) put(scores[i].entropy);
  }
  std::string all;
  for (const std::string& part : ranks_->allgather(own)) all += part;
  size_t want = 0, at = 0;
  for (const TargetScores& s : scores) want += s.logprob.size() + (entropy ? s.entropy.size() : 0);
  FULMEN_CHECK(all.size() == want * sizeof(float),
               "trainer: ranks scored " + std::to_string(all.size() / 4) + " values, want " + std::to_string(want));
  const auto take = [&](std::vector<float>& v) {
    std::memcpy(v.data(), all.data() + at, v.size() * sizeof(float));
    at += v.size() * sizeof(float);
  };
  for (TargetScores& s : scores) {
    take(s.logprob);
    if (entropy) take(s.entropy);
  }
}

void Trainer::score(std::span<const Sequence> sequences, float inv_temperature, std::vector<std::vector<float>>& out,
                    model::Observer* observer) {
  std::vector<TargetScores> scores(sequences.size());
  for (size_t i = 0; i < scores.size(); ++i) scores[i].logprob.resize(sequences[i].target.size());
  const Range share = share_of(sequences.size(), ranks_->rank(), ranks_->size());
  for (const MicroBatch& b : pack(sequences.subspan(share.first, share.count), micro_batch_tokens_)) {
    forward_micro_batch(b, inv_temperature, false, nullptr, observer);
    const float* p = host_logprob_.data();
    for (size_t i = b.first; i < b.first + b.count; ++i) {
      std::vector<float>& logprob = scores[share.first + i].logprob;
      std::copy_n(p, logprob.size(), logprob.begin());
      p += logprob.size();
    }
  }
  gather(share.first, share.count, scores, false);
  out.clear();
  for (TargetScores& s : scores) out.push_back(std::move(s.logprob));
}

// Where the gradients are on a GPU and the collective works on host memory, they travel through it.
void Trainer::sum_over_ranks(const std::vector<model::Gradients*>& parts, const std::vector<int>& counts) {
  if (ranks_->reaches_device()) {
    std::vector<const float*> data;
    for (model::Gradients* g : parts) data.push_back(g->all().data());
    return ranks_->sum_in_order_on_device(data, counts, grads_->all().data(), grads_->all().size());
  }
  std::vector<std::span<const float>> spans;
  if (kernels::host_memory(ctx_)) {
    for (model::Gradients* g : parts) spans.push_back(g->all());
    ranks_->sum_in_order(spans, counts, grads_->all());
    return;
  }
  std::vector<std::vector<float>> fetched;
  for (model::Gradients* g : parts) {
    fetched.emplace_back(g->all().size());
    kernels::copy_out(fetched.back().data(), g->all().data(), g->all().size_bytes(), ctx_);
  }
  spans.assign(fetched.begin(), fetched.end());
  std::vector<float> sum(grads_->all().size());
  ranks_->sum_in_order(spans, counts, sum);
  kernels::copy_in(grads_->all().data(), sum.data(), grads_->all().size_bytes(), ctx_);
}

void Trainer::end_phase() {
  grads_.reset();
  more_shards_.clear();
  tape_.clear();
  for (model::Buffer* b :
       {&hidden_, &dhidden_, &target_hidden_, &dtarget_hidden_, &logprob_, &entropy_, &lse_, &dlogprob_, &dentropy_})
    *b = {};
  transformer_.clear_workspace();
  kernels::trim(ctx_);
}

model::Gradients& Trainer::shard_gradients(size_t i) {
  if (i == 0) return *grads_;  // all zero: a new buffer, or optimizer_step left it so
  const size_t slot = ranks_->rank() == 0 ? 0 : i - 1;
  while (more_shards_.size() <= slot)
    more_shards_.push_back(std::make_unique<model::Gradients>(weights_.specs(), &ctx_));
  more_shards_[slot]->zero();
  return *more_shards_[slot];
}

std::vector<TargetScores> Trainer::accumulate(std::span<const Sequence> sequences, float inv_temperature,
                                              bool entropy_gradient, const LossFn& loss,
                                              const std::function<void(int64_t)>& on_rows) {
  if (!grads_) grads_ = std::make_unique<model::Gradients>(weights_.specs(), &ctx_);
  std::vector<TargetScores> scores(sequences.size());
  for (size_t i = 0; i < scores.size(); ++i)
    scores[i].logprob.resize(sequences[i].target.size()), scores[i].entropy.resize(sequences[i].target.size());
  const std::vector<Range> shards = shard_sequences(sequences, shards_);
  const int ranks = ranks_->size();
  const Range mine = share_of(shards.size(), ranks_->rank(), ranks);
  std::vector<model::Gradients*> parts;
  size_t first = 0, count = 0;  // sequences of this rank
  for (size_t k = 0; k < mine.count; ++k) {
    const Range shard = shards[mine.first + k];
    if (k == 0) first = shard.first;
    count += shard.count;
    model::Gradients& g = shard_gradients(k);
    for (const MicroBatch& b : pack(sequences.subspan(shard.first, shard.count), micro_batch_tokens_)) {
      forward_micro_batch(b, inv_temperature, true, &tape_, nullptr);
      host_dlogprob_.assign(b.rows.size(), 0.0f);
      host_dentropy_.assign(b.rows.size(), 0.0f);
      size_t at = 0;
      for (size_t i = shard.first + b.first; i < shard.first + b.first + b.count; ++i) {
        const size_t n = sequences[i].target.size();
        std::copy_n(host_logprob_.data() + at, n, scores[i].logprob.begin());
        std::copy_n(host_entropy_.data() + at, n, scores[i].entropy.begin());
        loss(i, scores[i].logprob, scores[i].entropy, {host_dlogprob_.data() + at, n}, {host_dentropy_.data() + at, n});
        at += n;
      }
      backward_micro_batch(b, inv_temperature, entropy_gradient, g);
      if (on_rows) on_rows(static_cast<int64_t>(b.tokens.size()));
    }
    const bool adds = k > 0 && ranks_->rank() == 0;  // rank 0 holds the head of the sum, so it need not keep its parts
    const auto rows = [](model::Gradients& x) {
      return mat(x.all().data(), static_cast<int64_t>(x.all().size() / model::Gradients::kRow), model::Gradients::kRow);
    };
    if (adds)
      kernels::scaled_add({rows(*grads_), rows(g), rows(*grads_)}, ctx_);
    else
      parts.push_back(&g);
  }
  if (ranks > 1 && !shards.empty()) {
    std::vector<int> counts;
    for (int r = 0; r < ranks; ++r) {
      const int n = static_cast<int>(share_of(shards.size(), r, ranks).count);
      counts.push_back(r == 0 ? std::min(n, 1) : n);
    }
    sum_over_ranks(parts, counts);
    gather(first, count, scores, true);
  }
  return scores;
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
    updates.push_back({.param = weights_.master(i),
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
  weights_.pack_trained(ctx_);
  return norm;
}

}  // namespace fulmen::learner
