#pragma once
// The engine over any ForwardPass: one forward, one sampler call and one settling of the schedule a step. make_engine
// (engine.h) gives it the transformer; tests a fake.
//
// On a GPU it runs one step ahead: sampled tokens stay in the device's memory, where the next step reads them, and
// while that runs the host looks at what the step before has sampled. A sequence that has ended by then has one row too
// many under way; what comes of it is thrown away (scheduler.h), so completions are the same.
//
// Why the device keeps no "stopped" flag of its own: it would change no bit and save next to nothing. Whether a row
// is computed is in no other row's bits (numerics contract 1), and the row writes behind everything that is read again.
// Ends by length are known before they come and cost no row; each other end costs one row and one step of its slot, of
// L + 1 for a completion of L tokens: 10 % at L = 9, 0.4 % at 256, 0.01 % at M1's mean of some 10k
// (EngineStats::discarded counts them). A flag would save less than that: the shape of a recorded step is fixed, so a
// stopped row is still launched by every kernel, each of which would have to ask for it; a step of few rows costs the
// reading of the weights whatever its rows; and stop strings and repetition are decided on the host all the same.

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "rollout/scheduler.h"

namespace fulmen::rollout {

class BatchEngine final : public Engine {
 public:
  // tokenizer may be null; end_token -1 for none; both and ctx outlive the engine.
  BatchEngine(std::unique_ptr<ForwardPass> pass, const CachePlan& plan, const EngineLimits& limits,
              const model::Tokenizer* tokenizer, int32_t end_token, bool run_ahead, kernels::Context& ctx);

  void submit(GroupRequest request) override;
  std::vector<Completion> step() override;
  void on_token(std::function<void(uint64_t, uint32_t, int32_t)> f) override { on_token_ = std::move(f); }
  void abort_all() override;
  std::vector<Completion> abort_group(uint64_t group_id) override;
  void set_weights(const model::Weights& weights) override;
  bool idle() const override { return scheduler_.idle() && done_.empty(); }
  EngineStats stats() const override;

 private:
  // A step that was queued. One entry a new token: a prompt's last row gives one to each of its samples.
  struct Flight {
    explicit Flight(kernels::Context& ctx) : fetch(ctx) {}
    std::vector<Sequence*> sequence;  // null: has ended before
    model::Buffer results;            // n tokens, then n log-probs
    kernels::Fetch fetch;
  };

  void check(const GroupRequest& r) const;
  void launch(const StepBatch& batch);
  void sample(Flight& flight, kernels::TensorRef logits);
  void settle(Flight& flight);
  void accept(Sequence& s, int32_t token, float logprob);

  std::unique_ptr<ForwardPass> pass_;
  EngineLimits limits_;
  const model::Tokenizer* tokenizer_;
  int32_t end_token_;
  kernels::Context& ctx_;
  bool run_ahead_;
  Scheduler scheduler_;
  EngineStats stats_;
  std::function<void(uint64_t, uint32_t, int32_t)> on_token_;

  std::array<Flight, 2> flights_;  // the newest and the one before
  size_t newest_ = 0;
  std::vector<Completion> done_;  // not handed out yet

  // Of one step, kept to reuse their memory.
  model::Buffer logits_;  // (n, V)
  std::vector<kernels::SamplingSettings> settings_;
  std::vector<double> u_;
};

}  // namespace fulmen::rollout
