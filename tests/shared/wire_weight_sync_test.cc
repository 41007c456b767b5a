#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "tests/shared/weight_sync_fixture.h"

namespace fulmen::wire {
namespace {

TEST(WeightSync, SharedMemoryAndZmqGiveTheSameRootAndBytes) {
  std::string run = unique_run("same"), why;
  Model model;
  WeightPublisher shm("shm", run), zmq("zmq", run);
  const WeightsManifest& a = shm.publish(1, model.tensors, model.constants);
  const WeightsManifest& b = zmq.publish(42, model.tensors, model.constants);
  EXPECT_EQ(a.root(), b.root());
  EXPECT_EQ(a.root().size(), 16u);
  Staging from_shm(a), from_zmq(b);
  Conductor conductor(run, zmq);
  ASSERT_TRUE(receive(a, from_shm, conductor.endpoint(), run, why)) << why;
  ASSERT_TRUE(receive(b, from_zmq, conductor.endpoint(), run, why)) << why;
  EXPECT_EQ(from_shm.bytes, model.bytes);
  EXPECT_EQ(from_zmq.bytes, model.bytes);
}

TEST(WeightSync, RootChangesWithEveryPartOfTheContent) {
  Model model;
  WeightPublisher p("zmq", "run");
  std::string root = p.publish(1, model.tensors, model.constants).root();
  Model flipped;
  flipped.bytes[2][12345] ^= 1;
  EXPECT_NE(p.publish(2, flipped.tensors, model.constants).root(), root);
  EXPECT_NE(p.publish(3, model.tensors, base::Digest{1, 2, 4}).root(), root);
  Model renamed;
  renamed.tensors[3].name = "norn";
  EXPECT_NE(p.publish(4, renamed.tensors, model.constants).root(), root);
  Model reshaped;
  reshaped.tensors[0].shape = {3, 1001};
  EXPECT_NE(p.publish(5, reshaped.tensors, model.constants).root(), root);
  EXPECT_EQ(p.publish(6, model.tensors, model.constants).root(), root);
}

TEST(WeightSync, CorruptedByteInSharedMemoryIsRefusedNamingTheTensor) {
  std::string run = unique_run("corrupt"), why;
  Model model;
  WeightPublisher p("shm", run);
  const WeightsManifest& m = p.publish(1, model.tensors, model.constants);
  int fd = shm_open(m.place().c_str(), O_RDWR, 0);
  ASSERT_GE(fd, 0);
  char last = static_cast<char>(model.bytes.back().back() ^ 1);
  ASSERT_EQ(pwrite(fd, &last, 1, static_cast<off_t>(m.total_bytes()) - 1), 1);
  close(fd);
  Staging staging(m);
  EXPECT_FALSE(receive(m, staging, "tcp://127.0.0.1:9", run, why));
  EXPECT_NE(why.find("tensor head: digest"), std::string::npos) << why;
}

TEST(WeightSync, CorruptedByteOnTheWireIsRefusedNamingTheTensor) {
  std::string run = unique_run("wire"), why;
  Model model;
  WeightPublisher p("zmq", run);
  const WeightsManifest& m = p.publish(1, model.tensors, model.constants);
  Conductor conductor(run, p, [](Message& reply) {
    if (reply.envelope.weights_chunk().offset() == kChunkBytes) reply.frames[0][7] ^= 1;
    return true;
  });
  Staging staging(m);
  EXPECT_FALSE(receive(m, staging, conductor.endpoint(), run, why));
  EXPECT_NE(why.find("tensor layers.0.w: digest"), std::string::npos) << why;
}

TEST(WeightSync, LostChunkIsAskedForAgain) {
  std::string run = unique_run("lost"), why;
  Model model;
  WeightPublisher p("zmq", run);
  const WeightsManifest& m = p.publish(1, model.tensors, model.constants);
  std::atomic<int> lost{0};
  Conductor conductor(
      run, p, [&](Message& reply) { return reply.envelope.weights_chunk().offset() != 2 * kChunkBytes || lost++ > 0; });
  Staging staging(m);
  EXPECT_TRUE(receive(m, staging, conductor.endpoint(), run, why)) << why;
  EXPECT_EQ(staging.bytes, model.bytes);
  EXPECT_GE(lost, 2);
}

TEST(WeightSync, ShortFrameIsRefused) {
  std::string run = unique_run("short"), why;
  Model model;
  WeightPublisher p("zmq", run);
  const WeightsManifest& m = p.publish(1, model.tensors, model.constants);
  Conductor conductor(run, p, [](Message& reply) {
    reply.frames[0].pop_back();
    return true;
  });
  Staging staging(m);
  EXPECT_FALSE(receive(m, staging, conductor.endpoint(), run, why));
  EXPECT_NE(why.find("want 4194304"), std::string::npos) << why;
}

TEST(WeightSync, ManifestThatContradictsItselfIsRefusedBeforeAnyByteIsWritten) {
  Model model;
  WeightPublisher p("zmq", "run");
  WeightsManifest m = p.publish(1, model.tensors, model.constants);
  auto refused = [&](const WeightsManifest& bad) {
    Client client("tcp://127.0.0.1:9", "run");
    std::vector<Message> stash;
    std::string why;
    auto sink = [](size_t) -> void* { throw Error("the sink was called"); };
    EXPECT_FALSE(receive_weights(bad, sink, client, stash, 100, why));
    return why;
  };
  WeightsManifest bad = m;
  bad.mutable_tensors(2)->set_name("other");
  EXPECT_NE(refused(bad).find("root digest"), std::string::npos);
  auto with_new_root = [](WeightsManifest x) {
    base::Digest d = root_digest(x);
    x.set_root(std::string(reinterpret_cast<const char*>(d.data()), d.size()));
    return x;
  };
  bad = m;
  bad.mutable_tensors(2)->set_bytes(5);
  EXPECT_NE(refused(with_new_root(bad)).find("tensor layers.0.w: got 5 bytes"), std::string::npos);
  bad = m;
  bad.set_total_bytes(1);
  EXPECT_NE(refused(bad).find("total: got 1"), std::string::npos);
}

TEST(WeightSync, TruncatedOrMissingSharedMemoryIsRefused) {
  std::string run = unique_run("truncated"), why;
  Model model;
  WeightPublisher p("shm", run);
  WeightsManifest m = p.publish(1, model.tensors, model.constants);
  int fd = shm_open(m.place().c_str(), O_RDWR, 0);
  ASSERT_EQ(ftruncate(fd, static_cast<off_t>(m.total_bytes()) - 1), 0);
  close(fd);
  Staging staging(m);
  EXPECT_FALSE(receive(m, staging, "tcp://127.0.0.1:9", run, why));
  EXPECT_NE(why.find("want " + std::to_string(m.total_bytes())), std::string::npos) << why;
  shm_unlink(m.place().c_str());
  EXPECT_FALSE(receive(m, staging, "tcp://127.0.0.1:9", run, why));
  EXPECT_NE(why.find(m.place()), std::string::npos) << why;
  m.set_place("/../etc/passwd");
  EXPECT_FALSE(receive(m, staging, "tcp://127.0.0.1:9", run, why));
}

// Its bytes go by GPU; to whom they did not reach, the conductor announces zmq.
TEST(WeightSync, VersionThatGoesByGpuIsNotForTheHostsReceiver) {
  Model model;
  for (const std::string transport : {"nccl", "ipc"}) {
    std::string why;
    WeightPublisher p(transport, "run");
    const WeightsManifest& m = p.publish(1, model.tensors, model.constants);
    Client client("tcp://127.0.0.1:9", "run");
    std::vector<Message> stash;
    Staging staging(m);
    EXPECT_FALSE(receive_weights(m, staging.sink(), client, stash, 100, why));
    EXPECT_EQ(why, "transport: got " + transport + ", want shm, zmq or file");
  }
}

TEST(WeightSync, DroppedVersionIsRefusedNamingWhatIsKept) {
  std::string run = unique_run("dropped"), why;
  Model model;
  WeightPublisher p("zmq", run);
  WeightsManifest first = p.publish(1, model.tensors, model.constants);
  p.publish(2, model.tensors, model.constants);
  Conductor conductor(run, p);
  Staging staging(first);
  EXPECT_TRUE(receive(first, staging, conductor.endpoint(), run, why)) << why;
  {
    const auto held = conductor.hold();
    p.publish(3, model.tensors, model.constants);
  }
  EXPECT_FALSE(receive(first, staging, conductor.endpoint(), run, why));
  EXPECT_EQ(why, "weights: version 1 was asked for, kept are 2 to 3");
  EXPECT_THROW(p.publish(3, model.tensors, model.constants), Error);
}

TEST(WeightSync, SilentConductorEndsInATimeoutNotAHang) {
  Model model;
  WeightPublisher p("zmq", "run");
  const WeightsManifest& m = p.publish(1, model.tensors, model.constants);
  Server silent("tcp://127.0.0.1:*", "", "run");
  Staging staging(m);
  std::string why;
  EXPECT_FALSE(receive(m, staging, silent.endpoint(), "run", why, 100));
  EXPECT_NE(why.find("0 of"), std::string::npos) << why;
}

TEST(WeightSync, OtherMessagesThatArriveMeanwhileAreKept) {
  Model model;
  WeightPublisher p("zmq", "run");
  const WeightsManifest& m = p.publish(1, model.tensors, model.constants);
  Server server("tcp://127.0.0.1:*", "", "run");
  Client client(server.endpoint(), "run");
  std::thread conductor([&] {
    bool stopped = false;
    for (uint64_t sent = 0; sent < m.total_bytes();) {
      Message in, reply;
      if (!server.receive(in, 10000)) return;
      reply.peer = in.peer;
      if (!stopped) {
        Message stop;
        stop.peer = in.peer;
        stop.envelope.mutable_stop()->set_reason("end");
        stopped = server.send(stop);
      }
      p.answer(in.envelope.weights_fetch(), reply);
      sent += reply.frames[0].size();
      server.send(reply);
    }
  });
  Staging staging(m);
  std::vector<Message> stash;
  std::string why;
  EXPECT_TRUE(receive_weights(m, staging.sink(), client, stash, 10000, why)) << why;
  conductor.join();
  ASSERT_EQ(stash.size(), 1u);
  EXPECT_EQ(stash[0].envelope.stop().reason(), "end");
}

bool object_exists(const std::string& name) {
  int fd = shm_open(name.c_str(), O_RDONLY, 0);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

TEST(WeightSync, SharedMemoryHoldsTwoVersionsAndIsGoneAtTheEnd) {
  Model model;
  std::string names[3];
  {
    WeightPublisher p("shm", unique_run("life"));
    for (uint64_t v = 0; v < 3; v++) names[v] = p.publish(v, model.tensors, model.constants).place();
    EXPECT_FALSE(object_exists(names[0]));
    EXPECT_TRUE(object_exists(names[1]));
    EXPECT_TRUE(object_exists(names[2]));
  }
  for (const auto& name : names) EXPECT_FALSE(object_exists(name)) << name;
}

TEST(WeightSync, ObjectsOfAKilledRunAreReplacedAndSweptButLivingOnesAreLeft) {
  std::string run = unique_run("killed"), why;
  Model old(5), model;
  int report[2];
  ASSERT_EQ(pipe(report), 0);
  pid_t pid = fork();
  if (pid == 0) {
    WeightPublisher p("shm", run);
    p.publish(1, old.tensors, old.constants);
    WeightsManifest last = p.publish(9, old.tensors, old.constants);
    if (write(report[1], last.place().data(), last.place().size()) < 0) _exit(1);
    close(report[1]);
    pause();
  }
  close(report[1]);
  char name[256] = {};
  ASSERT_GT(read(report[0], name, sizeof name - 1), 0);
  close(report[0]);
  {
    WeightPublisher other("shm", run);  // the owner lives: nothing is swept, its name is refused
    EXPECT_TRUE(object_exists(name));
    EXPECT_THROW(other.publish(9, model.tensors, model.constants), Error);
  }
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  EXPECT_TRUE(object_exists(name));
  WeightPublisher p("shm", run);
  EXPECT_FALSE(object_exists(name));
  const WeightsManifest& m = p.publish(1, model.tensors, model.constants);
  Staging staging(m);
  EXPECT_TRUE(receive(m, staging, "tcp://127.0.0.1:9", run, why)) << why;
  EXPECT_EQ(staging.bytes, model.bytes);
}

TEST(WeightSync, BytesThatDoNotFitTheShapeAreRefusedAtPublish) {
  Model model;
  model.tensors[1].bytes = 2;
  WeightPublisher p("zmq", "run");
  EXPECT_THROW(p.publish(1, model.tensors, model.constants), Error);
  EXPECT_THROW(WeightPublisher("carrier pigeon", "run"), Error);
}

TEST(WeightSync, AnImageLongerThanMemoryIsRefusedThoughItsSumWrapsToTheTotal) {
  WeightsManifest m;
  for (uint64_t bytes : {UINT64_MAX / 4, uint64_t{0}, UINT64_MAX / 4 * 3 + 64}) m.add_tensors()->set_bytes(bytes);
  uint64_t end = 0;
  for (const TensorEntry& e : m.tensors()) end = (end + kTensorAlign - 1) / kTensorAlign * kTensorAlign + e.bytes();
  m.set_total_bytes(end);
  ASSERT_LT(end, 200u);
  EXPECT_THROW(image_offsets(m), Error);
}

}  // namespace
}  // namespace fulmen::wire
