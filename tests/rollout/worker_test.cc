// A worker thread against a conductor of the test's own, over ipc, with a tiny random model whose weights go by shared
// memory.

#include "rollout/worker.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "shared/model/parity.h"
#include "tests/rollout/requests.h"

namespace fulmen::rollout {
namespace {

namespace fs = std::filesystem;
using kernels::DType;

constexpr int kWaitMs = 20000;

struct Scratch {
  fs::path path;
  Scratch() {
    std::string name = (fs::temp_directory_path() / "fulmen_worker_test_XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Scratch() { fs::remove_all(path); }
};

model::ModelConfig small_model() {
  model::ModelConfig c = model::parity_model();
  c.max_position_embeddings = 4096;
  return c;
}

base::Config config_in(const fs::path& dir) {
  std::ofstream(dir / "config.json") << model::model_config_json(small_model());
  base::Config c;
  c.model.path = dir / "config.json";
  c.data.max_prompt_tokens = 200;
  c.rollout.max_new_tokens = 2000;
  c.rollout.memory_mb = 64;
  c.rollout.threads = 1;
  return c;
}

struct Version {  // weights of one version as the learner holds them
  explicit Version(const base::Config& c, uint64_t seed)
      : weights(model::load_model_config(c.model.path), DType::kF32) {
    model::parity_init(weights, seed);
  }
  std::vector<wire::TensorSource> sources() const {
    std::vector<wire::TensorSource> s;
    for (size_t i = 0; i < weights.num_tensors(); ++i) {
      s.push_back({weights.specs()[i].name, weights.specs()[i].shape, 0, weights.tensor(i).data(),
                   weights.tensor(i).size_bytes()});
    }
    return s;
  }
  model::Weights weights;
};

class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest()
      : run_id_("test-" + std::to_string(getpid())),
        config_(config_in(scratch_.path)),
        server_("ipc", scratch_.path, run_id_),
        publisher_("shm", run_id_) {}

  ~WorkerTest() override {
    if (!worker_.joinable()) return;
    if (exit_code_ == kRunning) stop();
    worker_.join();
  }

  void start(int silence_ms = kWaitMs, pid_t parent = getppid()) {
    const WorkerOptions options{.endpoint = server_.endpoint(),
                                .run_id = run_id_,
                                .name = "rollout-0",
                                .silence_ms = silence_ms,
                                .weights_timeout_ms = 5000,
                                .parent = parent};
    worker_ = std::thread([this, options] {
      kernels::ThreadPool pool(1);
      kernels::Context ctx = kernels::cpu_context(pool);
      exit_code_ = RolloutWorker(options, config_, ctx).run();
    });
  }

  void start_and_welcome() {
    start();
    wire::Message hello = expect(wire::Envelope::kHello);
    hello_ = hello.envelope.hello();
    peer_ = hello.peer;
    wire::Message m;
    m.envelope.mutable_welcome()->set_incarnation(1);
    send(m);
  }

  void send(wire::Message& m) {
    m.peer = peer_;
    ASSERT_TRUE(server_.send(m));
  }

  // The next message of this kind; heartbeats and episodes on the way are kept or counted.
  wire::Message expect(wire::Envelope::BodyCase kind) {
    const int64_t end = wire::unix_ms() + kWaitMs;
    for (wire::Message m; wire::unix_ms() < end;) {
      if (!server_.receive(m, 100)) continue;
      if (m.envelope.body_case() == kind) return m;
      if (m.envelope.has_heartbeat()) ++heartbeats_;
      if (m.envelope.has_episode()) episodes_.push_back(m.envelope.episode());
    }
    ADD_FAILURE() << "no message of kind " << kind << " within " << kWaitMs << " ms";
    return {};
  }

  wire::WeightsManifest publish(uint64_t number, const Version& v) {
    return publisher_.publish(number, v.sources(), v.weights.constants_digest());
  }

  wire::WeightsReady announce(const wire::WeightsManifest& manifest) {
    wire::Message m;
    *m.envelope.mutable_weights_announce() = manifest;
    send(m);
    return expect(wire::Envelope::kWeightsReady).envelope.weights_ready();
  }

  void generate(const GroupRequest& r, uint64_t version, int64_t deadline_ms = 0) {
    wire::Message m;
    m.envelope.set_deadline_ms(deadline_ms);
    wire::Generate& g = *m.envelope.mutable_generate();
    g.set_group_id(r.group_id);
    g.set_prompt_id(r.prompt_id);
    g.mutable_prompt()->Add(r.prompt.begin(), r.prompt.end());
    g.mutable_sample_index()->Add(r.sample_index.begin(), r.sample_index.end());
    g.set_weights_version(version);
    wire::Sampling& s = *g.mutable_sampling();
    s.set_temperature(r.settings.sampling.temperature);
    s.set_top_p(r.settings.sampling.top_p);
    s.set_max_new_tokens(r.settings.max_new_tokens);
    for (const std::string& text : r.settings.stop) s.add_stop(text);
    s.set_seed(r.settings.seed);
    send(m);
  }

  std::vector<wire::Episode> collect(size_t n) {
    while (episodes_.size() < n) {
      const wire::Message m = expect(wire::Envelope::kEpisode);
      if (!m.envelope.has_episode()) break;
      episodes_.push_back(m.envelope.episode());
    }
    return std::exchange(episodes_, {});
  }

  void stop() {
    wire::Message m;
    m.envelope.mutable_stop()->set_reason("test is over");
    m.peer = peer_;
    EXPECT_TRUE(server_.send(m));
  }

  int join() {
    worker_.join();
    return exit_code_;
  }

  // What an engine of our own generates with this version.
  Results want(Version& v, const GroupRequest& r) {
    kernels::ThreadPool pool(1);
    kernels::Context ctx = kernels::cpu_context(pool);
    v.weights.pack(ctx);
    return run(*make_engine(v.weights, DType::kF32, engine_limits(config_), nullptr, ctx), {r});
  }

  GroupRequest small_request(uint64_t prompt_id) const {
    return request(prompt_id, 20, 3, 12, small_model().vocab_size);
  }

  static constexpr int kRunning = -1;
  Scratch scratch_;
  std::string run_id_;
  base::Config config_;
  wire::Server server_;
  wire::WeightPublisher publisher_;
  std::atomic<int> exit_code_ = kRunning;
  std::thread worker_;
  std::string peer_;
  wire::Hello hello_;
  std::vector<wire::Episode> episodes_;
  int heartbeats_ = 0;
};

void expect_episodes(const std::vector<wire::Episode>& got, const Results& want,
                     const wire::WeightsManifest& manifest) {
  ASSERT_EQ(got.size(), want.size());
  for (const wire::Episode& e : got) {
    const Completion& c = want.at({e.prompt_id(), e.sample_index()});
    EXPECT_EQ(e.group_id(), c.group_id);
    EXPECT_EQ(std::vector<int32_t>(e.completion().begin(), e.completion().end()), c.tokens);
    EXPECT_EQ(std::vector<float>(e.logprob().begin(), e.logprob().end()), c.logprob);
    EXPECT_EQ(e.weights_digest(), manifest.root());
    EXPECT_EQ(e.worker(), "rollout-0");
    ASSERT_EQ(e.weights_size(), 1);
    EXPECT_EQ(e.weights(0).version(), manifest.version());
    EXPECT_EQ(e.weights(0).tokens(), c.tokens.size());
  }
}

TEST_F(WorkerTest, HelloSaysWhoItIsAndStopEndsItWithZero) {
  start_and_welcome();
  EXPECT_EQ(hello_.role(), "rollout");
  EXPECT_EQ(hello_.name(), "rollout-0");
  EXPECT_EQ(hello_.pid(), getpid());
  EXPECT_EQ(hello_.config_hash(), base::config_hash(config_));
  kernels::ThreadPool pool(1);
  kernels::Context ctx = kernels::cpu_context(pool);
  EXPECT_EQ(hello_.numerics(), model::numerics_digest(ctx, small_model(), DType::kF32, DType::kF32));
  stop();
  EXPECT_EQ(join(), 0);
}

TEST_F(WorkerTest, EpisodesAreThoseOfTheEngineWithTheVersionAskedFor) {
  start_and_welcome();
  Version first(config_, 1), second(config_, 2);
  const GroupRequest r = small_request(4);
  generate(r, 1);  // waits for its version
  const wire::WeightsManifest one = publish(1, first);
  EXPECT_TRUE(announce(one).ok());
  const Results of_first = want(first, r), of_second = want(second, r);
  expect_episodes(collect(3), of_first, one);

  generate(r, 2);
  const wire::WeightsManifest two = publish(2, second);
  const wire::WeightsReady ready = announce(two);
  EXPECT_TRUE(ready.ok());
  EXPECT_EQ(ready.root(), two.root());
  expect_episodes(collect(3), of_second, two);
  EXPECT_NE((of_first.at({4, 0}).logprob), (of_second.at({4, 0}).logprob));
  EXPECT_TRUE(announce(two).ok()) << "announced again to one who has it";
}

TEST_F(WorkerTest, WrongDigestIsRefusedAndTheOldVersionStaysInService) {
  start_and_welcome();
  Version first(config_, 1), second(config_, 2);
  const wire::WeightsManifest one = publish(1, first);
  ASSERT_TRUE(announce(one).ok());

  wire::WeightsManifest bad = publish(2, second);
  (*bad.mutable_tensors(1)->mutable_digest())[0] ^= 1;
  const base::Digest root = wire::root_digest(bad);  // consistent in itself: only the bytes can tell
  bad.set_root(std::string(root.begin(), root.end()));
  wire::WeightsReady refused = announce(bad);
  EXPECT_FALSE(refused.ok());
  EXPECT_NE(refused.detail().find(bad.tensors(1).name()), std::string::npos) << refused.detail();

  base::Digest other = second.weights.constants_digest();
  other[3] ^= 1;
  refused = announce(publisher_.publish(3, second.sources(), other));
  EXPECT_FALSE(refused.ok());
  EXPECT_NE(refused.detail().find("decay slopes"), std::string::npos) << refused.detail();

  std::vector<wire::TensorSource> renamed = second.sources();
  renamed[2].name = "model.nonsense";
  refused = announce(publisher_.publish(4, renamed, second.weights.constants_digest()));
  EXPECT_FALSE(refused.ok());
  EXPECT_NE(refused.detail().find("tensor 2: got model.nonsense"), std::string::npos) << refused.detail();

  const GroupRequest r = small_request(4);
  generate(r, 1);
  expect_episodes(collect(3), want(first, r), one);
}

TEST_F(WorkerTest, PassedDeadlineComesBackAborted) {
  start_and_welcome();
  const GroupRequest waiting = small_request(1);
  generate(waiting, 1, wire::unix_ms() - 1);  // before there are weights
  for (const wire::Episode& e : collect(3)) {
    EXPECT_EQ(e.finish(), wire::FINISH_ABORTED);
    EXPECT_EQ(e.completion_size(), 0);
    EXPECT_EQ(e.group_id(), waiting.group_id);
  }
  const Version v(config_, 1);
  ASSERT_TRUE(announce(publish(1, v)).ok());
  GroupRequest endless = small_request(2);
  endless.settings.max_new_tokens = 2000;
  for (uint32_t i = 3; i < 40; ++i) endless.sample_index.push_back(i);
  const GroupRequest timely = small_request(3);
  generate(timely, 1, wire::unix_ms() + 1000000);
  for (const wire::Episode& e : collect(3)) EXPECT_EQ(e.finish(), wire::FINISH_LENGTH);
  generate(endless, 1, wire::unix_ms() + 200);
  for (const wire::Episode& e : collect(40)) {
    EXPECT_EQ(e.group_id(), endless.group_id);
    EXPECT_EQ(e.finish(), wire::FINISH_ABORTED);
    EXPECT_GT(e.completion_size(), 0) << "this was to be cut in the middle";
    EXPECT_EQ(e.completion_size(), e.logprob_size());
  }
}

TEST_F(WorkerTest, RequestForAVersionThatIsGoneComesBackAborted) {
  start_and_welcome();
  const Version v(config_, 1);
  ASSERT_TRUE(announce(publish(7, v)).ok());
  generate(small_request(1), 6);
  for (const wire::Episode& e : collect(3)) EXPECT_EQ(e.finish(), wire::FINISH_ABORTED);
}

TEST_F(WorkerTest, HeartbeatsGoOnWhileItGenerates) {
  start_and_welcome();
  const Version v(config_, 1);
  ASSERT_TRUE(announce(publish(1, v)).ok());
  GroupRequest busy = small_request(1);
  busy.settings.max_new_tokens = 2000;
  for (uint32_t i = 3; i < 30; ++i) busy.sample_index.push_back(i);
  generate(busy, 1);
  const wire::Heartbeat h = expect(wire::Envelope::kHeartbeat).envelope.heartbeat();
  EXPECT_EQ(h.weights_version(), 1u);
  EXPECT_GT(h.running() + h.queued(), 0u);
  stop();
  EXPECT_EQ(join(), 0);
}

TEST_F(WorkerTest, ImpossibleRequestIsAFaultNamingWorkerAndLimit) {
  start_and_welcome();
  const Version v(config_, 1);
  ASSERT_TRUE(announce(publish(1, v)).ok());
  GroupRequest r = small_request(1);
  r.settings.max_new_tokens = 3000;
  generate(r, 1);
  const std::string text = expect(wire::Envelope::kFault).envelope.fault().text();
  EXPECT_NE(text.find("rollout-0 (pid"), std::string::npos) << text;
  EXPECT_NE(text.find("max_tokens 2200"), std::string::npos) << text;
  EXPECT_EQ(join(), 1);
}

TEST_F(WorkerTest, LeavesWhenNobodyWelcomesIt) {
  start(300);
  const std::string text = expect(wire::Envelope::kFault).envelope.fault().text();
  EXPECT_NE(text.find("no welcome"), std::string::npos) << text;
  EXPECT_EQ(join(), 1);
}

TEST_F(WorkerTest, LeavesWhenItsParentIsGone) {
  start(kWaitMs, 1 << 30);
  const std::string text = expect(wire::Envelope::kFault).envelope.fault().text();
  EXPECT_NE(text.find("parent process is gone"), std::string::npos) << text;
  EXPECT_EQ(join(), 1);
}

TEST_F(WorkerTest, WorkerOfAnotherRunIsRefused) {
  run_id_ += "-other";
  start();
  while (exit_code_ == kRunning) {
    wire::Message m;
    server_.receive(m, 20);  // refuses inside
  }
  EXPECT_EQ(join(), 1);
}

}  // namespace
}  // namespace fulmen::rollout
