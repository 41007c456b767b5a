#pragma once
// A rollout worker: the loop between the conductor's messages and the engine. One thread; messages are taken between
// steps.
//
// It leaves with 0 after Stop, and with 1 and one line of reason when the conductor is gone: the parent process died,
// no Welcome came, or a conductor that sends heartbeats fell silent. (One that trains in its only thread sends nothing
// for minutes; silence alone is no sign of death.) An Error of its own is sent to the conductor as Fault first.

#include <unistd.h>

#include <chrono>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "rollout/engine.h"
#include "rollout/weight_receiver.h"
#include "shared/base/config.h"
#include "shared/wire/socket.h"

namespace fulmen::rollout {

struct WorkerOptions {
  std::string endpoint, run_id, name;
  int silence_ms = 30000;           // for Welcome, and between messages of a conductor that sends heartbeats
  int weights_timeout_ms = 120000;  // to receive one version
  pid_t parent = getppid();         // as it was at start; another parent later means that it died
};

class RolloutWorker {
 public:
  // Reads the model's config and the tokenizer; config gives limits and dtypes. ctx must outlive the worker.
  RolloutWorker(const WorkerOptions& options, const base::Config& config, kernels::Context& ctx);
  ~RolloutWorker();

  int run();  // exit code; see above

 private:
  using Clock = std::chrono::steady_clock;
  struct Request {
    GroupRequest group;
    uint64_t weights_version = 0;  // 0: whichever is in service
    int64_t deadline_ms = 0;       // unix time; 0 = none
  };

  void loop();
  void take_messages();
  void handle(wire::Message& m);
  void receive_version(const wire::WeightsManifest& manifest);
  void start_groups();
  bool submit_startable();
  void adopt_weights();
  void make_engine_of(const model::Weights& w);
  void rest();
  void drop_expired();
  void send_episode(Completion& c);
  void send_aborted(const Request& r);
  void send(wire::Message m);
  void flush();
  void heartbeat();
  void check_conductor();

  WorkerOptions options_;
  base::Config config_;
  model::ModelConfig model_;
  kernels::Context& ctx_;
  std::unique_ptr<model::Tokenizer> tokenizer_;
  std::string numerics_;
  wire::Client client_;
  WeightReceiver weights_;
  std::unique_ptr<Engine> engine_;  // from the first version on

  std::deque<wire::Message> inbox_, outbox_;  // outbox: what the socket had no room for
  std::deque<Request> waiting_;               // for their weights version
  struct Running {
    uint64_t group_id = 0;
    int64_t deadline_ms = 0;
  };
  std::vector<Running> with_deadline_;                              // groups in the engine that have one
  int64_t next_deadline_ms_ = std::numeric_limits<int64_t>::max();  // the earliest of all
  bool rest_wanted_ = false, stop_ = false, welcomed_ = false, conductor_heartbeats_ = false;
  Clock::time_point last_heard_, last_heartbeat_;
  int64_t tokens_at_heartbeat_ = 0;
};

kernels::DType parse_dtype(const std::string& name, const char* key);  // f32 | bf16
EngineLimits engine_limits(const base::Config& config);

}  // namespace fulmen::rollout
