#include "reward/python_host.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "kernels/error.h"

namespace fulmen::reward {
namespace {

class PythonHostTest : public testing::Test {
 protected:
  PythonHostTest() : dir_(std::filesystem::path(testing::TempDir()) / ("python_host." + std::to_string(getpid()))) {
    std::filesystem::create_directories(dir_);
  }
  ~PythonHostTest() override { std::filesystem::remove_all(dir_); }

  std::string write(const std::string& code) {
    std::filesystem::path file = dir_ / ("f" + std::to_string(files_++) + ".py");
    std::ofstream(file) << code;
    return file;
  }
  std::unique_ptr<Function> load(const std::string& code, const std::string& function = "reward",
                                 int deadline_ms = 10000) {
    PythonOptions options;
    options.deadline_ms = deadline_ms;
    options.max_pause_ms = 100;
    return make_python(write(code), function, options);
  }

  std::filesystem::path dir_;
  int files_ = 0;
};

Record record(const std::string& response, const std::string& truth = "42") {
  Record r;
  r.id = "1";
  r.data_source = "openai/gsm8k";
  r.prompt = "6*7?";
  r.response = response;
  r.ground_truth = truth;
  r.extra_info = R"({"index": 3, "split": "train"})";
  return r;
}

void expect_score(const Verdict& v, double score) {
  EXPECT_TRUE(v.kind == Kind::kScore) << kind_name(v.kind) << ": " << v.detail;
  EXPECT_EQ(v.score, score);
}

void expect_error(const Verdict& v, const std::string& part) {
  EXPECT_TRUE(v.kind == Kind::kError) << kind_name(v.kind);
  EXPECT_NE(v.detail.find(part), std::string::npos) << v.detail;
}

TEST_F(PythonHostTest, FiveLinesOfAUserAreAReward) {
  auto f = load(R"(
def reward(prompt, response, answer, **kw):
    assert prompt == "6*7?" and kw["extra_info"]["index"] == 3 and kw["data_source"] == "openai/gsm8k"
    return 1.0 if response.strip().endswith(answer) else 0.0
)");
  EXPECT_EQ(f->name(), "reward");
  expect_score(f->score(record("it is 42")), 1);
  expect_score(f->score(record("it is 43")), 0);
  expect_score(f->score(record("\"quotes\"\n\t\\ \x01 \xff \u4e2d 42")), 1);  // any bytes get through
}

TEST_F(PythonHostTest, FunctionInTheShapeOfVerlWorksUnchanged) {
  auto f = load(R"py(
import re

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    found = re.findall(r"#### (\-?[0-9\.\,]+)", solution_str)
    correct = bool(found) and found[-1].replace(",", "") == ground_truth
    return {"score": 1.0 if correct else 0.0, "acc": correct, "index": extra_info["index"], "pred": found[-1] if found else None,
            "source_length": len(data_source)}
)py",
                "compute_score");
  Verdict v = f->score(record("#### 42"));
  expect_score(v, 1);
  std::vector<std::pair<std::string, double>> want{{"acc", 1}, {"index", 3}, {"source_length", 12}};
  std::sort(v.components.begin(), v.components.end());
  EXPECT_EQ(v.components, want);
  expect_score(f->score(record("no idea")), 0);
}

TEST_F(PythonHostTest, OtherShapesAreRecognisedByTheirNames) {
  expect_score(load("def reward(answer): return answer == '42'")->score(record("")), 1);
  expect_score(load("def reward(response, /, *, label): return len(response) + len(label)")->score(record("abc")), 5);
  expect_score(load("async def reward(response): return 0.5")->score(record("")), 0.5);
  expect_score(load("def reward(completions, ground_truth, **columns): return [float(c == g) for c, g in "
                    "zip(completions, ground_truth)]")
                   ->score(record("42")),
               1);
  expect_score(load("def reward(queries, prompts, labels):\n"
                    "    return {'rewards': [float(q == p + 'x' + l) for q, p, l in zip(queries, prompts, labels)]}")
                   ->score(record("x42")),
               1);
  try {
    load("def reward(response, moon): pass");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("wants moon"), std::string::npos) << e.what();
  }
}

TEST_F(PythonHostTest, PrintsDoNotCorruptTheProtocol) {
  testing::internal::CaptureStderr();
  auto f = load(R"(
import os, subprocess, sys
print('{"ready": false}')
def reward(response, answer):
    print('{"id": 1, "score": 99, "extra": {}}', flush=True)
    os.write(1, b'{"id": 2, "score": 99}\n')
    sys.__stdout__.write("no newline"); sys.__stdout__.flush()
    subprocess.run(["echo", "from a child"])
    return float(sys.stdin.read() == "" and response == answer)
)");
  expect_score(f->score(record("42")), 1);
  expect_score(f->score(record("41")), 0);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("from a child"), std::string::npos);
}

TEST_F(PythonHostTest, HangIsKilledAtTheDeadlineWithItsChildren) {
  std::string pid_file = dir_ / "pid";
  auto f = load("PID_FILE = '" + pid_file + "'\n" + R"py(
import subprocess, time
def reward(response):
    if response == "hang":
        child = subprocess.Popen(["sleep", "1000"])
        with open(PID_FILE, "w") as file:
            file.write(str(child.pid))
        time.sleep(1000)
    return 1
)py",
                "reward", 1000);
  auto start = std::chrono::steady_clock::now();
  Verdict v = f->score(record("hang"));
  double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  EXPECT_TRUE(v.kind == Kind::kTimeout) << v.detail;
  EXPECT_GE(ms, 1000);
  EXPECT_LT(ms, 8000);
  pid_t child = 0;
  std::ifstream(pid_file) >> child;
  ASSERT_GT(child, 0);
  std::string state;  // dead, or a zombie that init has yet to take
  for (int i = 0; i < 200; i++) {
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string pid, name;
    state = "gone";
    stat >> pid >> name >> state;
    if (state == "gone" || state == "Z") break;
    usleep(10000);
  }
  EXPECT_TRUE(state == "gone" || state == "Z") << state;
  expect_score(f->score(record("next")), 1);
}

TEST_F(PythonHostTest, CrashCostsOneRecord) {
  auto f = load(R"(
import os, signal
def reward(response):
    if response == "exit": os._exit(3)
    if response == "segv": os.kill(os.getpid(), signal.SIGSEGV)
    return 1
)");
  expect_score(f->score(record("a")), 1);
  expect_error(f->score(record("exit")), "exited with 3");
  expect_error(f->score(record("segv")), "signal 11");
  expect_error(f->score(record("exit")), "exited with 3");  // after a pause
  expect_score(f->score(record("b")), 1);
}

TEST_F(PythonHostTest, ExceptionsAndBadResultsAreErrorsWithTheLastLine) {
  auto f = load(R"(
import sys
def reward(response):
    if response == "raise": raise ValueError("first\nlast line of it")
    if response == "quit": sys.exit(5)
    if response == "memory": return len(bytearray(1 << 44))
    if response == "deep": return reward(response)
    return {"none": None, "nan": float("nan"), "text": "1.0", "dict": {"acc": 1}, "list": [1, 2], "inf": float("inf")}[response]
)");
  expect_error(f->score(record("raise")), "ValueError: last line of it");
  expect_error(f->score(record("quit")), "SystemExit: 5");
  expect_error(f->score(record("memory")), "MemoryError");
  expect_error(f->score(record("deep")), "RecursionError");
  expect_error(f->score(record("none")), "returned None");
  expect_error(f->score(record("nan")), "want a finite number");
  expect_error(f->score(record("inf")), "want a finite number");
  expect_error(f->score(record("text")), "returned '1.0'");
  expect_error(f->score(record("dict")), "without \"score\"");
  expect_error(f->score(record("list")), "2 values");
}

TEST_F(PythonHostTest, FileThatDoesNotLoadIsAnErrorNamingItWithPythonsLastLine) {
  auto expect = [&](const std::string& file, const std::string& function, const std::string& part) {
    try {
      make_python(file, function, {});
      ADD_FAILURE() << file;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(file), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  expect(dir_ / "absent.py", "reward", "FileNotFoundError");
  expect(write("def reward(: pass"), "reward", "SyntaxError");
  expect(write("import no_such_module_at_all"), "reward", "No module named");
  expect(write("x = 1"), "reward", "no function reward");
  expect(write("import os; os._exit(9)"), "reward", "exited with 9");
}

TEST_F(PythonHostTest, SlowLoadIsNotChargedToTheCallAndHasItsOwnDeadline) {
  auto f = load("import time\ntime.sleep(1.5)\ndef reward(response): return 1", "reward", 1200);
  expect_score(f->score(record("a")), 1);
  PythonOptions options;
  options.start_ms = 300;
  EXPECT_THROW(make_python(write("import time\ntime.sleep(100)"), "reward", options), Error);
}

TEST_F(PythonHostTest, LongTextPassesWithinTheDeadline) {
  auto f = load("def reward(response): return len(response)");
  expect_score(f->score(record(std::string(4 << 20, 'x'))), 4 << 20);
}

}  // namespace
}  // namespace fulmen::reward
