// Weights that travel as files of a folder which all hosts see.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/shared/weight_sync_fixture.h"

namespace fulmen::wire {
namespace {

struct Folder {
  std::string path = "/tmp/fulmen-sync-" + std::to_string(getpid());
  Folder() { std::filesystem::remove_all(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

bool receive_file(const WeightsManifest& m, Staging& staging, std::string& why, int timeout_ms = 100) {
  return receive(m, staging, "tcp://127.0.0.1:9", "run", why, timeout_ms);
}

TEST(WeightSync, FileGivesTheSameRootAndBytes) {
  const Folder folder;
  Model model;
  std::string why;
  WeightPublisher file("file", unique_run("file"), folder.path), zmq("zmq", "run");
  const WeightsManifest& m = file.publish(1, model.tensors, model.constants);
  EXPECT_EQ(m.root(), zmq.publish(1, model.tensors, model.constants).root());
  Staging staging(m);
  ASSERT_TRUE(receive_file(m, staging, why)) << why;
  EXPECT_EQ(staging.bytes, model.bytes);
}

TEST(WeightSync, CorruptedByteInAFileIsRefusedNamingTheTensor) {
  const Folder folder;
  Model model;
  std::string why;
  WeightPublisher p("file", unique_run("file"), folder.path);
  const WeightsManifest& m = p.publish(1, model.tensors, model.constants);
  std::fstream f(m.place(), std::ios::in | std::ios::out | std::ios::binary);
  f.seekp(-1, std::ios::end);
  f.put(static_cast<char>(model.bytes.back().back() ^ 1));
  f.close();
  Staging staging(m);
  EXPECT_FALSE(receive_file(m, staging, why));
  EXPECT_NE(why.find("tensor head: digest"), std::string::npos) << why;
}

TEST(WeightSync, MissingStaleOrShortFileIsOneLineAfterTheDeadline) {
  const Folder folder;
  Model model;
  std::string why;
  WeightPublisher p("file", unique_run("file"), folder.path);
  const WeightsManifest old = p.publish(1, model.tensors, model.constants);
  WeightsManifest m = p.publish(2, model.tensors, model.constants);
  Staging staging(m);
  const auto refused = [&](const std::string& want) {
    EXPECT_FALSE(receive_file(m, staging, why));
    EXPECT_NE(why.find("version 2: file " + m.place() + ": " + want), std::string::npos) << why;
    EXPECT_NE(why.find("for 100 ms"), std::string::npos) << why;
    EXPECT_EQ(why.find('\n'), std::string::npos);
  };
  std::filesystem::copy_file(old.place(), m.place(), std::filesystem::copy_options::overwrite_existing);
  refused("it holds version 1 with root ");
  std::filesystem::resize_file(m.place(), 5);
  refused("it ends at byte 5");
  std::ofstream(m.place()) << std::string(100, 'x');
  refused("it is no file of weights");
  std::filesystem::remove(m.place());
  refused("No such file or directory");
}

TEST(WeightSync, FileThatAppearsBeforeTheDeadlineIsTaken) {
  const Folder folder;
  Model model;
  std::string why;
  WeightPublisher p("file", unique_run("file"), folder.path);
  const WeightsManifest m = p.publish(1, model.tensors, model.constants);
  std::filesystem::rename(m.place(), m.place() + ".hidden");
  std::thread later([&] {
    usleep(100000);
    std::filesystem::rename(m.place() + ".hidden", m.place());
  });
  Staging staging(m);
  EXPECT_TRUE(receive_file(m, staging, why, 10000)) << why;
  later.join();
  EXPECT_EQ(staging.bytes, model.bytes);
}

TEST(WeightSync, FilesAreTwoVersionsAtMostAndGoneAtTheEndAndAKilledRunsAreSwept) {
  const Folder folder;
  Model model;
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(folder.path), std::filesystem::directory_iterator());
  };
  {
    WeightPublisher p("file", "run", folder.path);
    for (uint64_t v = 1; v < 4; v++) p.publish(v, model.tensors, model.constants);
    EXPECT_EQ(files(), 2);
    std::ofstream(folder.path + "/fulmen-0123-v1.weights") << "of a run that was killed";
    std::ofstream(folder.path + "/notes") << "of somebody else";
    WeightPublisher other("file", "other", folder.path);
    EXPECT_EQ(files(), 3) << "the dead file goes, the living two and what is not ours stay";
  }
  EXPECT_EQ(files(), 1);
}

}  // namespace
}  // namespace fulmen::wire
