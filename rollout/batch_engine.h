#pragma once
// The engine over any ForwardPass: one forward, one sampler call and one settling of the schedule a step. make_engine
// (engine.h) gives it the transformer; tests a fake.

#include <functional>
#include <memory>
#include <vector>

#include "rollout/scheduler.h"

namespace fulmen::rollout {

class BatchEngine final : public Engine {
 public:
  // tokenizer may be null; end_token -1 for none; both and ctx outlive the engine.
  BatchEngine(std::unique_ptr<ForwardPass> pass, const CachePlan& plan, const EngineLimits& limits,
              const model::Tokenizer* tokenizer, int32_t end_token, kernels::Context& ctx);

  void submit(GroupRequest request) override;
  std::vector<Completion> step() override;
  void on_token(std::function<void(uint64_t, uint32_t, int32_t)> f) override { on_token_ = std::move(f); }
  void abort_all() override { scheduler_.clear(); }
  std::vector<Completion> abort_group(uint64_t group_id) override;
  void set_weights(const model::Weights& weights) override;
  bool idle() const override { return scheduler_.idle(); }
  EngineStats stats() const override;

 private:
  void check(const GroupRequest& r) const;
  void sample(const StepBatch& batch);
  void accept(Sequence& s, int32_t token, float logprob);

  std::unique_ptr<ForwardPass> pass_;
  EngineLimits limits_;
  const model::Tokenizer* tokenizer_;
  int32_t end_token_;
  kernels::Context& ctx_;
  Scheduler scheduler_;
  EngineStats stats_;
  std::function<void(uint64_t, uint32_t, int32_t)> on_token_;

  // Of one step, kept to reuse their memory. One entry a new token: a prompt's last row gives one to each of its
  // samples.
  model::Buffer logits_;  // (n, V)
  std::vector<Sequence*> sequence_;
  std::vector<kernels::SamplingSettings> settings_;
  std::vector<double> u_;
  std::vector<int32_t> token_;
  std::vector<float> logprob_;
};

}  // namespace fulmen::rollout
