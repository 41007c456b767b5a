#include "rollout/batch_engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "shared/base/rng.h"

namespace fulmen::rollout {
namespace {

Completion take_completion(Sequence& s, Finish finish) {
  return {s.group->request.group_id, s.group->request.prompt_id, s.sample_index,
          std::move(s.tokens),       std::move(s.logprob),       finish};
}

}  // namespace

BatchEngine::BatchEngine(std::unique_ptr<ForwardPass> pass, const CachePlan& plan, const EngineLimits& limits,
                         const model::Tokenizer* tokenizer, int32_t end_token, bool run_ahead, kernels::Context& ctx)
    : pass_(std::move(pass)),
      limits_(limits),
      tokenizer_(tokenizer),
      end_token_(end_token),
      ctx_(ctx),
      run_ahead_(run_ahead),
      scheduler_(plan, limits.prefill_rows, *pass_),
      flights_{Flight(ctx), Flight(ctx)} {}

void BatchEngine::check(const GroupRequest& r) const {
  const GenerateSettings& g = r.settings;
  const kernels::SamplingSettings& s = g.sampling;
  const auto want = [&](bool ok, const std::string& what) {
    if (!ok) throw Error(fmt::format("group {} (prompt {}): {}", r.group_id, r.prompt_id, what));
  };
  want(!r.prompt.empty(), "empty prompt, want at least one token");
  want(!r.sample_index.empty(), "no sample_index, want at least one sample");
  want(g.max_new_tokens >= 1, fmt::format("max_new_tokens: got {}, want at least 1", g.max_new_tokens));
  const auto total = static_cast<int64_t>(r.prompt.size()) + g.max_new_tokens;
  want(total <= limits_.max_tokens,
       fmt::format("prompt of {} tokens + max_new_tokens {} = {}, the engine's limit is max_tokens {}", r.prompt.size(),
                   g.max_new_tokens, total, limits_.max_tokens));
  for (size_t i = 0; i < r.prompt.size(); ++i) {
    want(r.prompt[i] >= 0 && r.prompt[i] < pass_->vocab_size(),
         fmt::format("prompt token {} is {}, want [0, {})", i, r.prompt[i], pass_->vocab_size()));
  }
  want(std::isfinite(s.temperature) && s.temperature >= 0,
       fmt::format("temperature: got {}, want >= 0", s.temperature));
  want(s.top_k >= 0, fmt::format("top_k: got {}, want >= 0", s.top_k));
  want(s.top_p > 0 && s.top_p <= 1, fmt::format("top_p: got {}, want (0, 1]", s.top_p));
  want(s.min_p >= 0 && s.min_p <= 1, fmt::format("min_p: got {}, want [0, 1]", s.min_p));
  want(g.repetition_window >= 0, fmt::format("repetition_window: got {}, want >= 0", g.repetition_window));
  want(g.repetition_window == 0 || (g.repetition_prob > 0 && g.repetition_prob <= 1),
       fmt::format("repetition_prob: got {}, want (0, 1]", g.repetition_prob));
}

void BatchEngine::submit(GroupRequest request) {
  check(request);
  StopRules stop(request.settings, tokenizer_, end_token_);
  const auto group = std::make_shared<const Group>(Group{std::move(request), std::move(stop)});
  std::vector<std::unique_ptr<Sequence>> samples;
  for (const uint32_t index : group->request.sample_index) {
    auto s = std::make_unique<Sequence>();
    s->group = group;
    s->sample_index = index;
    samples.push_back(std::move(s));
  }
  scheduler_.add(std::move(samples));
}

std::vector<Completion> BatchEngine::step() {
  if (!scheduler_.idle()) {
    const StepBatch& batch = scheduler_.next();
    const bool launched = !batch.segments.empty();
    if (launched) launch(batch);
    settle(flights_[launched && run_ahead_ ? 1 - newest_ : newest_]);
  }
  return std::exchange(done_, {});
}

void BatchEngine::launch(const StepBatch& batch) {
  const Flight& before = flights_[newest_];
  newest_ = 1 - newest_;
  Flight& flight = flights_[newest_];
  ++stats_.steps;
  stats_.prompt_tokens += batch.prompt_rows;
  flight.sequence.clear();
  for (Sequence* s : batch.sampled) {
    flight.sequence.push_back(s);
    for (auto& f : s->followers) flight.sequence.push_back(f.get());
  }
  const size_t n = flight.sequence.size(), rows = batch.sampled.size();
  const auto vocab = static_cast<size_t>(pass_->vocab_size());
  if (logits_.size() < n * vocab) logits_.resize(n * vocab, ctx_);
  const auto logits = [&](size_t count) {
    return kernels::mat(logits_.data(), static_cast<int64_t>(count), static_cast<int64_t>(vocab));
  };
  const auto* sampled = reinterpret_cast<const int32_t*>(before.results.data());
  pass_->forward({batch.tokens, batch.segments, {sampled, before.sequence.size()}}, batch.last_row, logits(rows));
  if (n == 0) return;

  // A prompt's row becomes one row a sample; from the end, so that nothing is overwritten before it is read.
  for (size_t row = rows, to = n; row-- > 0 && to > row + 1;) {
    for (size_t copies = 1 + batch.sampled[row]->followers.size(); copies-- > 0;) {
      --to;
      kernels::copy_within(logits_.data() + to * vocab, logits_.data() + row * vocab, vocab * sizeof(float), ctx_);
    }
  }
  sample(flight, logits(n));
}

void BatchEngine::sample(Flight& flight, kernels::TensorRef logits) {
  const size_t n = flight.sequence.size();
  settings_.resize(n);
  u_.resize(n);
  for (size_t i = 0; i < n; ++i) {
    Sequence& s = *flight.sequence[i];
    const GroupRequest& r = s.group->request;
    settings_[i] = r.settings.sampling;
    u_[i] = base::uniform(r.settings.seed, base::Purpose::kSample, r.prompt_id, s.sample_index,
                          static_cast<uint64_t>(s.length()));
    ++s.ahead;
    s.sampled_at = static_cast<int32_t>(i);
  }
  flight.results.resize(2 * n, ctx_);
  float* results = flight.results.data();
  kernels::queue_sample_rows({logits, settings_, u_, {reinterpret_cast<int32_t*>(results), n}, {results + n, n}}, ctx_);
  flight.fetch.begin(results, 2 * n * sizeof(float));
}

// Looks at what a step has sampled, waiting for it if it must.
void BatchEngine::settle(Flight& flight) {
  const size_t n = flight.sequence.size();
  const auto live = [](const Sequence* s) { return s != nullptr; };
  if (std::any_of(flight.sequence.begin(), flight.sequence.end(), live)) {
    const auto* token = static_cast<const int32_t*>(flight.fetch.wait());
    const auto* logprob = reinterpret_cast<const float*>(token + n);
    for (size_t i = 0; i < n; ++i)
      if (flight.sequence[i] != nullptr) accept(*flight.sequence[i], token[i], logprob[i]);
  }
  std::vector<Sequence*>& newer = flights_[newest_].sequence;
  for (auto& s : scheduler_.settle(flight.sequence)) {
    if (&newer != &flight.sequence) stats_.discarded += std::count(newer.begin(), newer.end(), s.get());
    std::replace(newer.begin(), newer.end(), s.get(), static_cast<Sequence*>(nullptr));
    done_.push_back(take_completion(*s, *s->finish));
  }
  flight.sequence.clear();
}

void BatchEngine::accept(Sequence& s, int32_t token, float logprob) {
  FULMEN_CHECK(token >= 0,
               fmt::format("group {} (prompt {}), sample {}: a logit of token {} is not finite",
                           s.group->request.group_id, s.group->request.prompt_id, s.sample_index, s.tokens.size()));
  --s.ahead;
  s.tokens.push_back(token);
  s.logprob.push_back(logprob);
  ++stats_.new_tokens;
  s.finish = s.group->stop.check(s.stop, token, logprob, static_cast<int64_t>(s.tokens.size()));
  if (on_token_) on_token_(s.group->request.group_id, s.sample_index, token);
}

void BatchEngine::abort_all() {
  for (Flight& f : flights_) f.sequence.clear();
  done_.clear();
  scheduler_.clear();
}

std::vector<Completion> BatchEngine::abort_group(uint64_t group_id) {
  settle(flights_[newest_]);  // what has been sampled is handed back too
  std::vector<Completion> completions;
  for (auto& s : scheduler_.remove_group(group_id)) completions.push_back(take_completion(*s, Finish::kAborted));
  return completions;
}

void BatchEngine::set_weights(const model::Weights& weights) {
  FULMEN_CHECK(idle(), fmt::format("engine: new weights while {} sequences run and {} wait; finish or abort them first",
                                   scheduler_.running(), scheduler_.queued()));
  pass_->set_weights(weights);
}

EngineStats BatchEngine::stats() const {
  EngineStats s = stats_;
  s.running = scheduler_.running();
  s.queued = scheduler_.queued();
  s.preemptions = scheduler_.preemptions();
  return s;
}

}  // namespace fulmen::rollout
