#pragma once
// The learner's model: weights, gradients and AdamW state of one rank, and the three things done with them: score
// sequences, accumulate a gradient over micro-batches, take an optimizer step. Ranks hold the same weights and moments
// and make the same calls with the same arguments; each works on its share, and all return the same. The gradient is
// the same bits for any micro-batch budget (kernels continue their chains over rows in memory) and for any number of
// ranks (shards.h).

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "learner/packer.h"
#include "learner/shards.h"
#include "shared/collective/collective.h"
#include "shared/model/transformer.h"

namespace fulmen::learner {

struct AdamWSettings {
  float lr = 1e-4f, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-15f, weight_decay = 0, grad_clip = 1;
};

// Learning rate of update `step` (from 0) of `total`: linear warmup, then constant, cosine to 0 or linear to 0.
float scheduled_lr(const std::string& schedule, float lr, int64_t step, int64_t warmup, int64_t total);

struct OptimizerState {  // one buffer per tensor, order of tensor_specs()
  OptimizerState(const model::Weights& weights, kernels::Context& ctx);  // m and v in the device's memory
  std::vector<model::Buffer> m, v;
  int64_t step = 0;  // updates taken
};

struct TargetScores {  // of one sequence, per target token
  std::vector<float> logprob, entropy;
};

class Trainer {
 public:
  // shards: the most a batch is cut into; more than ranks is wasted on nobody, fewer leaves ranks idle.
  Trainer(model::Weights& weights, kernels::DType cache_dtype, bool recompute, int64_t micro_batch_tokens,
          kernels::Context& ctx, int shards = 1);
  ~Trainer();

  void join(collective::Collective& ranks);  // before the first call; without it the trainer is alone

  // Throws Error naming the first rank whose weights have other bits than rank 0's.
  void check_ranks_agree();

  // Learner log-probs of every target token: out[i] has sequences[i].target.size() values.
  void score(std::span<const Sequence> sequences, float inv_temperature, std::vector<std::vector<float>>& out,
             model::Observer* observer = nullptr);

  // One call an update. Forward, then `loss` for each sequence i of this rank's shards, once: given log-probs and
  // entropies of its target tokens it writes d loss / d logprob and d loss / d entropy (both zero on entry); then
  // backward, then the sum over ranks. Returns what every rank's forward found.
  using LossFn = std::function<void(size_t i, std::span<const float> logprob, std::span<const float> entropy,
                                    std::span<float> dlogprob, std::span<float> dentropy)>;
  // on_rows(rows) after each micro-batch of this rank, for progress; may be empty.
  std::vector<TargetScores> accumulate(std::span<const Sequence> sequences, float inv_temperature,
                                       bool entropy_gradient, const LossFn& loss,
                                       const std::function<void(int64_t)>& on_rows = {});

  // Clips by global norm, AdamW, zeroes gradients, repacks the weights. Returns the norm before clipping.
  // Throws Error naming the tensor when the norm is not finite.
  double optimizer_step(const AdamWSettings& s);

  // Gives the memory of a phase (gradients, activations) back to the device; the next call takes it again.
  void end_phase();

  model::Weights& weights() { return weights_; }
  model::Gradients& gradients() { return *grads_; }  // after accumulate: summed over all ranks
  OptimizerState& optimizer() { return optimizer_; }
  kernels::Context& context() { return ctx_; }

 private:
  void forward_micro_batch(const MicroBatch& b, float inv_temperature, bool want_entropy, model::Tape* tape,
                           model::Observer* observer);
  void backward_micro_batch(const MicroBatch& b, float inv_temperature, bool entropy_gradient, model::Gradients& g);
  void sum_over_ranks(const std::vector<model::Gradients*>& parts, const std::vector<int>& counts);
  model::Gradients& shard_gradients(size_t i);  // of this rank's i-th shard
  void gather(size_t first, size_t count, std::vector<TargetScores>& scores, bool entropy);

  model::Weights& weights_;
  kernels::Context& ctx_;
  int64_t micro_batch_tokens_;
  model::Transformer transformer_;
  model::Tape tape_;
  int shards_;
  std::unique_ptr<collective::Collective> alone_;
  collective::Collective* ranks_;
  std::unique_ptr<model::Gradients> grads_;                     // of the update, and of this rank's first shard
  std::vector<std::unique_ptr<model::Gradients>> more_shards_;  // of its others: one on rank 0, which adds as it goes
  OptimizerState optimizer_;
  // Workspaces of one micro-batch in the device's memory, grow only: (T, C), (T, C), (M, C), (M, C), (M), (M, 2), ...
  model::Buffer hidden_, dhidden_, target_hidden_, dtarget_hidden_;
  model::Buffer logprob_, entropy_, lse_, dlogprob_, dentropy_;
  std::vector<float> host_logprob_, host_entropy_, host_dlogprob_, host_dentropy_;  // (M), for the loss
};

}  // namespace fulmen::learner
