#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <future>
#include <thread>

#include "kernels/error.h"
#include "shared/wire/socket.h"

namespace fulmen::wire {
namespace {

class Directory {  // a fresh one, gone at the end
 public:
  explicit Directory(const std::string& name) {
    path_ = std::filesystem::path(testing::TempDir()) / ("wire." + std::to_string(getpid()) + name);
    std::filesystem::create_directories(path_);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

Message hello(const std::string& name) {
  Message m;
  m.envelope.mutable_hello()->set_name(name);
  m.envelope.mutable_hello()->set_pid(getpid());
  return m;
}

void expect_round_trip(Server& server, Client& client) {
  Message out = hello("rollout-0");
  out.frames = {std::string(5 << 20, 'x'), "", std::string("a\0b", 3)};
  ASSERT_TRUE(client.send(out));
  Message in;
  ASSERT_TRUE(server.receive(in, 5000));
  EXPECT_EQ(in.envelope.hello().name(), "rollout-0");
  EXPECT_EQ(in.envelope.seq(), 1u);
  EXPECT_EQ(in.frames, out.frames);
  Message answer;
  answer.peer = in.peer;
  answer.envelope.mutable_welcome()->set_incarnation(7);
  ASSERT_TRUE(server.send(answer));
  ASSERT_TRUE(client.receive(in, 5000));
  EXPECT_EQ(in.envelope.welcome().incarnation(), 7u);
}

TEST(WireSocket, MessagesAndFramesPassBothWaysOverIpc) {
  Directory dir("a");
  Server server("ipc", dir.path(), "run");
  EXPECT_EQ(server.endpoint().rfind("ipc://" + dir.path(), 0), 0u) << server.endpoint();
  Client client(server.endpoint(), "run");
  expect_round_trip(server, client);
}

TEST(WireSocket, MessagesAndFramesPassBothWaysOverTcp) {
  Server server("tcp://localhost:*", "", "run");
  EXPECT_EQ(server.endpoint().rfind("tcp://127.0.0.1:", 0), 0u) << server.endpoint();
  Client client(server.endpoint(), "run");
  expect_round_trip(server, client);
}

TEST(WireSocket, LongDirectoryStillGivesAnEndpoint) {
  Directory dir("b");
  std::string deep = dir.path() + "/" + std::string(60, 'd') + "/" + std::string(60, 'e');
  Server server("ipc", deep, "run"), other("ipc", deep + "2", "run");
  EXPECT_LE(server.endpoint().size(), 107 + strlen("ipc://"));
  EXPECT_NE(server.endpoint(), other.endpoint());
  Client client(server.endpoint(), "run");
  expect_round_trip(server, client);
}

TEST(WireSocket, ClientMayConnectBeforeTheServerBinds) {
  Directory dir("c");
  Client client("ipc://" + dir.path() + "/conductor.sock", "run");
  Message out = hello("early"), in;
  ASSERT_TRUE(client.send(out));
  Server server("ipc", dir.path(), "run");
  ASSERT_TRUE(server.receive(in, 5000));
  EXPECT_EQ(in.envelope.hello().name(), "early");
}

TEST(WireSocket, ReceiveGivesUpAtItsDeadline) {
  Directory dir("d");
  Server server("ipc", dir.path(), "run");
  Message m;
  auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(server.receive(m, 30));
  double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GE(ms, 29);
  EXPECT_LT(ms, 2000);
}

TEST(WireSocket, MessageOfAnotherRunIsAnsweredWithFaultAndDropped) {
  Directory dir("e");
  Server server("ipc", dir.path(), "run-a");
  Client stranger(server.endpoint(), "run-b"), own(server.endpoint(), "run-a");
  Message m = hello("rollout-3"), in;
  ASSERT_TRUE(stranger.send(m));
  EXPECT_FALSE(server.receive(in, 200));
  ASSERT_TRUE(stranger.receive(in, 5000));
  ASSERT_TRUE(in.envelope.has_fault());
  const std::string& text = in.envelope.fault().text();
  for (const char* part : {"run-a", "run-b", "rollout-3"}) EXPECT_NE(text.find(part), std::string::npos) << text;
  m = hello("good");
  ASSERT_TRUE(own.send(m));
  EXPECT_TRUE(server.receive(in, 5000));
  EXPECT_EQ(in.envelope.hello().name(), "good");
}

TEST(WireSocket, PortInUseIsAnErrorNamingTheEndpoint) {
  Server first("tcp://127.0.0.1:*", "", "run");
  try {
    Server second(first.endpoint(), "", "run");
    FAIL() << "two servers on " << first.endpoint();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(first.endpoint()), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("in use"), std::string::npos) << e.what();
  }
}

TEST(WireSocket, RunDirectoryInUseIsAnErrorAndTheFirstServerKeepsItsSocket) {
  Directory dir("f");
  Server first("ipc", dir.path(), "run");
  EXPECT_THROW(Server("ipc", dir.path(), "run"), Error);
  Client client(first.endpoint(), "run");
  expect_round_trip(first, client);
}

TEST(WireSocket, SocketOfAKilledServerIsTakenOver) {
  Directory dir("g");
  pid_t pid = fork();
  if (pid == 0) {
    Server server("ipc", dir.path(), "run");
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  Server server("ipc", dir.path(), "run");
  Client client(server.endpoint(), "run");
  expect_round_trip(server, client);
}

TEST(WireSocket, BadAddressesAreErrors) {
  EXPECT_THROW(Server("udp://127.0.0.1:1", "", "run"), Error);
  EXPECT_THROW(Server("tcp://127.0.0.1", "", "run"), Error);
  EXPECT_THROW(Server("tcp://127.0.0.1:99999", "", "run"), Error);
  EXPECT_THROW(Client("nonsense", "run"), Error);
}

TEST(WireSocket, SendingToAPeerThatIsGoneSaysSo) {
  Directory dir("h");
  Server server("ipc", dir.path(), "run");
  Message in;
  {
    Client client(server.endpoint(), "run");
    Message m = hello("short");
    ASSERT_TRUE(client.send(m));
    ASSERT_TRUE(server.receive(in, 5000));
  }
  Message answer;
  answer.peer = in.peer;
  answer.envelope.mutable_stop();
  bool gone = false;  // the disconnect takes a moment to arrive
  for (int i = 0; i < 100 && !gone; i++) {
    Message none;
    server.receive(none, 20);
    gone = !server.send(answer);
  }
  EXPECT_TRUE(gone);
  answer.peer = "nobody";
  EXPECT_FALSE(server.send(answer));
}

TEST(WireSocket, TwoSidesThatOnlySendDoNotBlockEachOther) {
  Directory dir("i");
  Server server("ipc", dir.path(), "run");
  Client client(server.endpoint(), "run");
  Message m = hello("a"), in;
  ASSERT_TRUE(client.send(m));
  ASSERT_TRUE(server.receive(in, 5000));
  constexpr int kMany = 3000;  // beyond every high-water mark and kernel buffer on the way
  auto flood = std::async(std::launch::async, [&] {
    for (int i = 0; i < kMany; i++) {
      Message out = hello("c");
      out.frames = {std::string(4096, 'c')};
      if (!client.send(out, 20000)) return false;
    }
    Message got;
    for (int i = 0; i < kMany; i++) {
      if (!client.receive(got, 20000)) return false;
    }
    return true;
  });
  for (int i = 0; i < kMany; i++) {
    Message out;
    out.peer = in.peer;
    out.envelope.mutable_heartbeat();
    out.frames = {std::string(4096, 's')};
    ASSERT_TRUE(server.send(out, 20000)) << i;
  }
  Message got;
  for (int i = 0; i < kMany; i++) ASSERT_TRUE(server.receive(got, 20000)) << i;
  EXPECT_EQ(got.envelope.seq(), static_cast<uint64_t>(kMany + 1));
  EXPECT_TRUE(flood.get());
}

}  // namespace
}  // namespace fulmen::wire
