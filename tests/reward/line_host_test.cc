#include "reward/line_host.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "kernels/error.h"
#include "reward/python_host.h"

namespace fulmen::reward {
namespace {

class LineHostTest : public testing::Test {
 protected:
  LineHostTest() : dir_(std::filesystem::path(testing::TempDir()) / ("line_host." + std::to_string(getpid()))) {
    std::filesystem::create_directories(dir_);
  }
  ~LineHostTest() override { std::filesystem::remove_all(dir_); }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name) << text;
    return dir_ / name;
  }
  // A Python program (not a function): reads `q` a line, answers with `body`.
  std::unique_ptr<Function> program(const std::string& body, int deadline_ms = 5000) {
    const std::string file =
        write("p.py", "import json, os, sys, time\nfor line in sys.stdin:\n    q = json.loads(line)\n" + body);
    RewardOptions options;
    options.deadline_ms = deadline_ms;
    return make_command("python3 -u '" + file + "'", options);
  }
  std::unique_ptr<Function> python(const std::string& code) {
    PythonOptions options;
    options.max_pause_ms = 50;
    return make_python(write("f.py", code), "reward", options);
  }

  std::filesystem::path dir_;
};

Record record(const std::string& response) {
  Record r;
  r.id = "7";
  r.response = response;
  return r;
}

TEST_F(LineHostTest, ProgramSeesTheWholeRecordAndItsPrintsAreNoAnswers) {
  auto f = program(R"py(
    print("thinking...")
    print(json.dumps({"id": q["id"], "score": -0.5, "components": {"a": 2}, "depth": 3,
                      "detail": q["response"] + q["kind"] + str(q["ground_truth"]) + q["extra_info"]["x"]}))
)py");
  Record r = record("r");
  r.kind = "k";
  r.ground_truth = "t";
  r.extra_info = R"({"x": "e"})";
  const Verdict v = f->score(r);
  EXPECT_EQ(v.score, -0.5) << v.detail;
  EXPECT_EQ(v.detail, "rkte");
  const std::vector<std::pair<std::string, double>> want{{"a", 2}, {"depth", 3}};
  EXPECT_EQ(v.components, want);
}

TEST_F(LineHostTest, ProgramMayGiveAnyVerdict) {
  auto f = program(R"py(    print(json.dumps({"id": q["id"], "verdict": q["response"], "detail": "d"})))py");
  EXPECT_TRUE(f->score(record("undecided")).kind == Kind::kUndecided);
  EXPECT_TRUE(f->score(record("unparsable")).kind == Kind::kUnparsable);
  EXPECT_TRUE(f->score(record("score")).kind == Kind::kError) << "a score without a number";
  EXPECT_TRUE(f->score(record("great")).kind == Kind::kError);
}

TEST_F(LineHostTest, AnswerToAnotherRecordIsAnErrorAndDoesNotPoisonTheNext) {
  auto f = program(R"py(
    if q["response"] == "forge":
        print(json.dumps({"id": 999, "score": 1}))
    elif q["response"] == "ahead":
        print(json.dumps({"id": q["id"], "score": 1}))
        print(json.dumps({"id": q["id"] + 1, "score": 99}))
    else:
        print(json.dumps({"id": q["id"], "score": 2}))
)py");
  EXPECT_NE(f->score(record("forge")).detail.find("not to this record"), std::string::npos);
  EXPECT_EQ(f->score(record("x")).score, 2);
}

TEST_F(LineHostTest, ProgramThatHangsFloodsOrDiesCostsOneRecord) {
  auto f = program(R"py(
    if q["response"] == "hang": time.sleep(100)
    if q["response"] == "flood":
        while True: print("x" * 1000)
    if q["response"] == "die": os._exit(3)
    print(json.dumps({"id": q["id"], "score": 2}))
)py",
                   500);
  EXPECT_TRUE(f->score(record("hang")).kind == Kind::kTimeout);
  EXPECT_EQ(f->score(record("x")).score, 2);
  EXPECT_TRUE(f->score(record("flood")).kind == Kind::kTimeout);
  EXPECT_EQ(f->score(record("x")).score, 2);
  const Verdict v = f->score(record("die"));
  EXPECT_TRUE(v.kind == Kind::kError);
  EXPECT_NE(v.detail.find("exited with 3"), std::string::npos) << v.detail;
  EXPECT_EQ(f->score(record("x")).score, 2);
}

TEST_F(LineHostTest, RecordMayShortenTheDeadline) {
  auto f = program("    time.sleep(100)\n", 60000);
  Record r = record("x");
  r.deadline_ms = 200;
  EXPECT_TRUE(f->score(r).kind == Kind::kTimeout);
}

TEST_F(LineHostTest, ABatchWithOneRecordThatKillsLosesOnlyThatOne) {
  auto f = python(R"py(
import os
def reward(completions, **kw):
    if any(c == "die" for c in completions): os._exit(1)
    if any(c == "raise" for c in completions): raise ValueError("bad one")
    return [len(completions) for c in completions]
)py");
  std::vector<Record> records(10, record("fine"));
  for (const Verdict& v : f->score_all(records)) EXPECT_EQ(v.score, 10) << "really sent together";
  records[3].response = "die";
  records[5].response = "raise";
  const auto v = f->score_all(records);
  for (size_t i = 0; i < v.size(); i++) {
    if (i == 3) {
      EXPECT_TRUE(v[i].kind == Kind::kError);
    } else if (i == 5) {
      EXPECT_NE(v[i].detail.find("bad one"), std::string::npos);
    } else {
      EXPECT_EQ(v[i].score, 1) << v[i].detail;
    }
  }
}

TEST_F(LineHostTest, KillFromOutsideAtAnyTimeLosesNoRecord) {
  const std::string pid_file = dir_ / "pid";
  auto f = python("import os\nopen('" + pid_file + "', 'w').write(str(os.getpid()))\n" + R"py(
import time
def reward(completions, **kw):
    time.sleep(0.002)
    return [float(c) for c in completions]
)py");
  std::atomic<int> kills{0};
  std::jthread killer([&](std::stop_token stop) {
    while (!stop.stop_requested() && kills < 5) {
      std::this_thread::sleep_for(std::chrono::milliseconds(120));
      pid_t pid = 0;
      std::ifstream(pid_file) >> pid;
      if (pid > 0 && kill(pid, SIGKILL) == 0) kills++;
    }
  });
  for (int i = 0; i < 300 || kills < 2; i++) {
    Record r = record(std::to_string(i));
    const Verdict v = f->score(r);
    ASSERT_TRUE(v.kind == Kind::kScore) << v.detail;
    ASSERT_EQ(v.score, i);
  }
  EXPECT_GE(kills, 2);
}

TEST_F(LineHostTest, MemoryLimitHoldsForAnyProgram) {
  RewardOptions options;
  options.memory_bytes = 300 << 20;
  auto f = make_command("python3 -u " + write("m.py", R"py(
import json, sys
for line in sys.stdin:
    q = json.loads(line)
    try:
        size = len(bytearray(1 << 30))
    except MemoryError:
        size = -1
    print(json.dumps({"id": q["id"], "score": size}))
)py"),
                        options);
  EXPECT_EQ(f->score(record("x")).score, -1);
}

TEST_F(LineHostTest, CommandIsSplitIntoWordsAndAMissingProgramIsNamed) {
  auto f = make_command(
      "python3 -u -c 'import json,sys\nfor l in sys.stdin: print(json.dumps({\"id\": json.loads(l)[\"id\"], "
      "\"score\": len(sys.argv[1])}))' \"two words\"",
      {});
  EXPECT_EQ(f->score(record("x")).score, 9);
  EXPECT_THROW(make_command("", {}), Error);
  EXPECT_THROW(make_command("python3 'open", {}), Error);
  try {
    make_command("/no/such/program x", {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("/no/such/program"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fulmen::reward
