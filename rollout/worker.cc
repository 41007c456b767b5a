#include "rollout/worker.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "shared/base/log.h"

namespace fulmen::rollout {
namespace {

constexpr auto kHeartbeat = std::chrono::seconds(1);

wire::FinishReason wire_finish(Finish f) {
  switch (f) {
    case Finish::kStop:
      return wire::FINISH_STOP;
    case Finish::kLength:
      return wire::FINISH_LENGTH;
    case Finish::kRepetition:
      return wire::FINISH_REPETITION;
    case Finish::kAborted:
      return wire::FINISH_ABORTED;
  }
  return wire::FINISH_UNSET;
}

GroupRequest group_request(const wire::Generate& g) {
  const wire::Sampling& s = g.sampling();
  GroupRequest r;
  r.group_id = g.group_id();
  r.prompt_id = g.prompt_id();
  r.prompt.assign(g.prompt().begin(), g.prompt().end());
  r.sample_index.assign(g.sample_index().begin(), g.sample_index().end());
  r.settings.sampling = {s.temperature(), s.top_k(), s.top_p(), s.min_p()};
  r.settings.max_new_tokens = s.max_new_tokens();
  r.settings.stop.assign(s.stop().begin(), s.stop().end());
  r.settings.repetition_window = s.repetition_window();
  r.settings.repetition_prob = s.repetition_prob();
  r.settings.seed = s.seed();
  return r;
}

int64_t ms_between(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(b - a).count();
}

}  // namespace

kernels::DType parse_dtype(const std::string& name, const char* key) {
  if (name == "f32") return kernels::DType::kF32;
  if (name == "bf16") return kernels::DType::kBf16;
  throw Error(fmt::format("{}: got \"{}\", want f32 or bf16", key, name));
}

EngineLimits engine_limits(const base::Config& config) {
  return {.max_sequences = config.rollout.max_sequences,
          .prefill_rows = config.rollout.prefill_rows,
          .memory_bytes = int64_t{config.rollout.memory_mb} << 20,
          .max_tokens = int64_t{config.data.max_prompt_tokens} + config.rollout.max_new_tokens};
}

RolloutWorker::RolloutWorker(const WorkerOptions& options, const base::Config& config, kernels::Context& ctx)
    : options_(options),
      config_(config),
      model_(model::load_model_config(config.model.path)),
      ctx_(ctx),
      tokenizer_(model::load_tokenizer(config.model.tokenizer)),
      numerics_(model::numerics_digest(ctx, model_, parse_dtype(config.model.cache_dtype, "model.cache_dtype"),
                                       model::ComputeDtypes(config.model))),
      client_(options.endpoint, options.run_id),
      weights_(model_, model::ComputeDtypes(config.model), ctx),
      last_heard_(Clock::now()),
      last_heartbeat_(Clock::now()) {}

RolloutWorker::~RolloutWorker() = default;

int RolloutWorker::run() {
  try {
    loop();
    return 0;
  } catch (const std::exception& e) {  // out of memory included: the conductor must hear of it
    base::error("{}: {}", options_.name, e.what());
    wire::Message m;
    m.envelope.mutable_fault()->set_text(fmt::format("{} (pid {}): {}", options_.name, getpid(), e.what()));
    if (!client_.send(m, 1000)) base::error("{}: the conductor could not be told", options_.name);
    return 1;
  }
}

void RolloutWorker::loop() {
  wire::Message hello;
  wire::Hello& h = *hello.envelope.mutable_hello();
  h.set_role("rollout");
  h.set_name(options_.name);
  h.set_pid(getpid());
  h.set_config_hash(base::config_hash(config_));
  h.set_numerics(numerics_);
  send(std::move(hello));
  while (true) {
    take_messages();
    if (stop_) return;
    drop_expired();
    start_groups();
    if (engine_) {
      for (Completion& c : engine_->step()) send_episode(c);
    }
    rest();
    flush();
    heartbeat();
    check_conductor();
  }
}

// Waits only when the engine has nothing to do.
void RolloutWorker::take_messages() {
  const bool busy = (engine_ && !engine_->idle()) || !inbox_.empty();
  const auto due = ms_between(Clock::now(), last_heartbeat_ + kHeartbeat);
  int timeout_ms = busy ? 0 : static_cast<int>(std::clamp<int64_t>(due, 1, outbox_.empty() ? 1000 : 20));
  for (wire::Message m; client_.receive(m, timeout_ms); timeout_ms = 0) inbox_.push_back(std::move(m));
  while (!inbox_.empty() && !stop_) {
    wire::Message m = std::move(inbox_.front());
    inbox_.pop_front();
    handle(m);
  }
}

void RolloutWorker::handle(wire::Message& m) {
  last_heard_ = Clock::now();
  const wire::Envelope& e = m.envelope;
  switch (e.body_case()) {
    case wire::Envelope::kWelcome:
      welcomed_ = true;
      base::info("{}: welcomed by the conductor as incarnation {}", options_.name, e.welcome().incarnation());
      break;
    case wire::Envelope::kHeartbeat:
      conductor_heartbeats_ = true;
      break;
    case wire::Envelope::kWeightsAnnounce:
      receive_version(e.weights_announce());
      break;
    case wire::Envelope::kGenerate:
      waiting_.push_back({group_request(e.generate()), e.generate().weights_version(), e.deadline_ms()});
      if (e.deadline_ms() != 0) next_deadline_ms_ = std::min(next_deadline_ms_, e.deadline_ms());
      break;
    case wire::Envelope::kRest:
      rest_wanted_ = true;
      break;
    case wire::Envelope::kStop:
      base::info("{}: stopped by the conductor: {}", options_.name, e.stop().reason());
      stop_ = true;
      break;
    case wire::Envelope::kFault:
      throw Error("the conductor refuses this worker: " + e.fault().text());
    case wire::Envelope::kWeightsChunk:
      break;  // of a fetch that was given up
    default:
      base::warn("{}: dropped a message no rollout worker knows, kind {}", options_.name,
                 static_cast<int>(e.body_case()));
  }
}

void RolloutWorker::receive_version(const wire::WeightsManifest& manifest) {
  std::vector<wire::Message> stash;
  wire::Message reply;
  wire::WeightsReady& ready = *reply.envelope.mutable_weights_ready();
  ready = weights_.receive(manifest, client_, stash, options_.weights_timeout_ms);
  if (ready.ok()) {
    base::debug("{}: weights version {} is here and agrees", options_.name, manifest.version());
  } else {
    base::warn("{}: weights version {} refused, {} stays in service: {}", options_.name, manifest.version(),
               weights_.version(), ready.detail());
  }
  send(std::move(reply));
  for (auto it = stash.rbegin(); it != stash.rend(); ++it) inbox_.push_front(std::move(*it));
}

// Hands every request whose version is in service to the engine. Versions change only while the engine is idle, so no
// completion mixes two.
void RolloutWorker::start_groups() {
  while (!submit_startable() && weights_.staged_version() != 0 && (!engine_ || engine_->idle())) adopt_weights();
}

// True when something was submitted.
bool RolloutWorker::submit_startable() {
  if (!engine_ && weights_.version() != 0 && !waiting_.empty()) make_engine_of(weights_.current());  // after a rest
  if (!engine_) return false;
  bool submitted = false;
  for (size_t n = waiting_.size(); n-- > 0;) {
    Request r = std::move(waiting_.front());
    waiting_.pop_front();
    if (r.weights_version > weights_.version()) {
      waiting_.push_back(std::move(r));
    } else if (r.weights_version != 0 && r.weights_version < weights_.version()) {
      base::warn("{}: group {} wants weights version {}, but {} is in service", options_.name, r.group.group_id,
                 r.weights_version, weights_.version());
      send_aborted(r);
    } else {
      if (r.deadline_ms != 0) with_deadline_.push_back({r.group.group_id, r.deadline_ms});
      engine_->submit(std::move(r.group));
      submitted = true;
    }
  }
  return submitted;
}

void RolloutWorker::adopt_weights() {
  const model::Weights& w = weights_.adopt();
  if (engine_)
    engine_->set_weights(w);
  else if (!config_.rollout.in_turn)  // else when there is something to generate
    make_engine_of(w);
  base::debug("{}: serving weights version {}", options_.name, weights_.version());
}

void RolloutWorker::make_engine_of(const model::Weights& w) {
  tokens_at_heartbeat_ = 0;
  engine_ = make_engine(w, parse_dtype(config_.model.cache_dtype, "model.cache_dtype"), engine_limits(config_),
                        tokenizer_.get(), ctx_);
}

// The learner's turn with the memory, once nothing is being generated.
void RolloutWorker::rest() {
  if (!rest_wanted_ || !waiting_.empty() || (engine_ && !engine_->idle())) return;
  rest_wanted_ = false;
  engine_.reset();
  kernels::trim(ctx_);
  wire::Message m;
  m.envelope.mutable_resting();
  send(std::move(m));
}

void RolloutWorker::drop_expired() {
  const int64_t now = wire::unix_ms();
  if (now < next_deadline_ms_) return;
  next_deadline_ms_ = std::numeric_limits<int64_t>::max();
  for (size_t n = waiting_.size(); n-- > 0;) {
    Request r = std::move(waiting_.front());
    waiting_.pop_front();
    if (r.deadline_ms == 0 || r.deadline_ms > now) {
      if (r.deadline_ms != 0) next_deadline_ms_ = std::min(next_deadline_ms_, r.deadline_ms);
      waiting_.push_back(std::move(r));
      continue;
    }
    base::warn("{}: group {} passed its deadline before it began", options_.name, r.group.group_id);
    send_aborted(r);
  }
  std::erase_if(with_deadline_, [&](const Running& r) {
    if (r.deadline_ms > now) {
      next_deadline_ms_ = std::min(next_deadline_ms_, r.deadline_ms);
      return false;
    }
    std::vector<Completion> unfinished = engine_->abort_group(r.group_id);
    if (!unfinished.empty()) {
      base::warn("{}: group {} passed its deadline with {} samples unfinished", options_.name, r.group_id,
                 unfinished.size());
    }
    for (Completion& c : unfinished) send_episode(c);
    return true;
  });
}

void RolloutWorker::send_aborted(const Request& r) {
  for (const uint32_t index : r.group.sample_index) {
    Completion c{r.group.group_id, r.group.prompt_id, index, {}, {}, Finish::kAborted};
    send_episode(c);
  }
}

void RolloutWorker::send_episode(Completion& c) {
  wire::Message m;
  wire::Episode& e = *m.envelope.mutable_episode();
  e.set_group_id(c.group_id);
  e.set_prompt_id(c.prompt_id);
  e.set_sample_index(c.sample_index);
  e.mutable_completion()->Add(c.tokens.begin(), c.tokens.end());
  e.mutable_logprob()->Add(c.logprob.begin(), c.logprob.end());
  if (!c.tokens.empty()) {
    wire::VersionRun& run = *e.add_weights();
    run.set_version(weights_.version());
    run.set_tokens(static_cast<uint32_t>(c.tokens.size()));
  }
  e.set_finish(wire_finish(c.finish));
  e.set_weights_digest(weights_.root());
  e.set_worker(options_.name);
  e.set_numerics(numerics_);
  send(std::move(m));
}

void RolloutWorker::send(wire::Message m) {
  outbox_.push_back(std::move(m));
  flush();
}

// Without room now it is sent at the next turn of the loop; generation does not wait for a slow conductor.
void RolloutWorker::flush() {
  while (!outbox_.empty() && client_.send(outbox_.front(), 0)) outbox_.pop_front();
}

void RolloutWorker::heartbeat() {
  const auto now = Clock::now();
  if (now - last_heartbeat_ < kHeartbeat) return;
  const EngineStats stats = engine_ ? engine_->stats() : EngineStats{};
  const double seconds = std::chrono::duration<double>(now - last_heartbeat_).count();
  wire::Message m;
  wire::Heartbeat& h = *m.envelope.mutable_heartbeat();
  h.set_running(static_cast<uint64_t>(stats.running));
  h.set_queued(static_cast<uint64_t>(stats.queued));
  for (const Request& r : waiting_) h.set_queued(h.queued() + r.group.sample_index.size());
  h.set_weights_version(weights_.version());
  h.set_tokens_per_s(static_cast<double>(stats.new_tokens - tokens_at_heartbeat_) / seconds);
  last_heartbeat_ = now;
  tokens_at_heartbeat_ = stats.new_tokens;
  if (outbox_.empty()) send(std::move(m));  // else what waits there says as much
}

void RolloutWorker::check_conductor() {
  if (getppid() != options_.parent) throw Error("parent process is gone; leaving");
  if (welcomed_ && !conductor_heartbeats_) return;
  const int64_t silent_ms = ms_between(last_heard_, Clock::now());
  if (silent_ms <= options_.silence_ms) return;
  throw Error(welcomed_ ? fmt::format("conductor at {} silent for {} s; leaving", options_.endpoint, silent_ms / 1000)
                        : fmt::format("no welcome from the conductor at {} for {} s; leaving", options_.endpoint,
                                      silent_ms / 1000));
}

}  // namespace fulmen::rollout
