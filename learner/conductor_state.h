#pragma once
// Inside of the conductor: its workers, and the one batch of jobs that may be in progress. Split over conductor.cc
// (what to do next) and conductor_events.cc (what workers say, and what happens when they stop saying anything).

#include <chrono>
#include <deque>
#include <map>
#include <set>

#include "kernels/memory.h"
#include "learner/conductor.h"
#include "learner/score_desk.h"
#include "shared/collective/collective.h"
#include "shared/launch/local_process.h"
#include "shared/wire/socket.h"
#include "shared/wire/weight_sync.h"

namespace fulmen::learner {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

struct Worker {
  std::string role, name, peer;  // peer: routing id once it said Hello
  std::unique_ptr<launch::LocalProcess> process;
  std::string log_path;
  Clock::time_point last_seen = Clock::now();
  bool connected = false;
  int restarts = 0;
  int refused_weights = 0;
  bool by_sockets = false;  // it could not open the GPU's memory
  bool resting = false;
  std::set<uint64_t> groups;  // rollout: issued and unfinished
};

// sync.transport; ipc in place of shm where learner and workers share a GPU.
std::string sync_transport(const base::Config& config, const kernels::Context& ctx);

// One call of run(): which groups and verdicts are still missing.
struct Batch {
  struct Group {
    const GroupJob* job = nullptr;
    std::map<uint32_t, size_t> missing;  // sample index -> episode index
  };
  const GenerateSpec* spec = nullptr;
  std::map<uint64_t, Group> groups;    // by group id
  std::deque<uint64_t> queue;          // groups to issue
  std::map<uint64_t, size_t> scoring;  // score id -> episode index, until the verdict is in
  std::vector<Episode> episodes;
  int64_t episodes_missing = 0, tokens = 0;
  Clock::time_point last_progress = Clock::now();
  StepCounts* counts = nullptr;
};

struct Conductor::State {
  const base::Config& config;
  std::string config_path, run_id, numerics;
  const model::Tokenizer& tokenizer;
  kernels::Context& ctx;
  wire::Server server;
  wire::WeightPublisher publisher;
  kernels::DeviceMemory shared_image;  // transport ipc: of the newest version; outlives the workers, who read it
  std::string shared_name;             // empty: there is none
  size_t shared_bytes = 0;
  std::vector<Worker> workers;
  ScoreDesk desk;
  std::map<std::string, wire::GoldenReport> golden;  // by worker, of the check that is going on
  const wire::WeightsManifest* manifest = nullptr;
  std::unique_ptr<collective::Collective> sync_group;  // transport nccl: this process and the rollout workers
  wire::WeightsGroup sync_place;
  std::string sync_members;  // who is in it
  uint64_t version = 0, next_id = 1, incarnation = 0;
  Batch* batch = nullptr;
  bool stopping = false;

  State(const base::Config& c, const std::string& path, const std::string& id, const std::string& digest,
        const model::Tokenizer& t, kernels::Context& device)
      : config(c),
        config_path(path),
        run_id(id),
        numerics(digest),
        tokenizer(t),
        ctx(device),
        server(c.sync.bind, c.run.dir, id),
        publisher(sync_transport(c, device), id, c.sync.directory.empty() ? c.run.dir + "/weights" : c.sync.directory) {
  }

  void spawn(Worker& w);
  void send(Worker& w, wire::Message& m);
  void lose(Worker& w, const std::string& why);
  void check_workers();
  void pump(int timeout_ms);
  void handle(Worker& w, wire::Message& m);
  void on_hello(Worker& w, const wire::Hello& hello);
  void on_episode(Worker& w, const wire::Episode& e);
  void ask_verdict(const Batch::Group& group, size_t episode);
  void on_verdict(Worker& w, const wire::Verdict& v);
  void on_weights_ready(Worker& w, const wire::WeightsReady& r);
  void announce(Worker& w, const wire::WeightsGroup* in_group = nullptr);
  void broadcast_weights(const model::Weights& weights);
  void share_weights(const model::Weights& weights);
  void issue();
  void issue_group(Worker& w, uint64_t id);
  void issue_scores();
  Worker* find_peer(const std::string& peer);
  std::string describe_workers();
};

}  // namespace fulmen::learner
