#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/base/metrics.h"
#include "shared/launch/arguments.h"
#include "shared/launch/diff.h"
#include "shared/launch/doctor.h"
#include "shared/launch/report.h"
#include "shared/launch/run_record.h"
#include "shared/launch/top.h"
#include "shared/launch/verbs.h"

namespace fulmen::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

struct Outcome {
  int code;
  std::string out, err;
};

Outcome front(const Words& words, const std::string& directory = "/no/such/directory") {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = run_front(words, directory);
  std::fflush(stdout);
  Outcome o{code, "", ""};
  o.out = testing::internal::GetCapturedStdout();
  o.err = testing::internal::GetCapturedStderr();
  return o;
}

class FrontTest : public testing::Test {
 protected:
  void SetUp() override { base::make_directories(dir_); }
  void TearDown() override { base::remove_all(dir_); }

  // A tool that says what it was given on stderr and exits with 7.
  void make_tool(const std::string& name) {
    const std::string path = dir_ + "/" + name;
    base::write_file_atomic(path, "#!/bin/sh\necho \"${0##*/}:$*\" >&2\nexit 7\n");
    fs::permissions(path, fs::perms::owner_all);
  }

  // A run of three steps; `reward` is the mean reward of step 2.
  std::string make_run(const std::string& name, double reward) {
    const std::string run = dir_ + "/" + name;
    base::MetricsWriter writer(run, -1, false);
    writer.write(0, {{"val-core/arithmetic/acc/mean@1", 0.25}});
    writer.write(0, {{"val-core/arithmetic/acc/mean@1", 0.5}});
    writer.write(1, {{"critic/rewards/mean", 0.5}, {"actor/grad_norm", NAN}, {"timing_s/step", reward}});
    writer.write(2, {{"critic/rewards/mean", reward}, {"timing_s/step", 3}});
    base::write_file_atomic(run + "/config.resolved.yaml", "run:\n  dir: " + run + "\n  seed: 9\n");
    base::make_directories(run + "/episodes");
    std::string lines;
    for (int i = 0; i < 9; ++i) {
      lines += json{{"step", 2},
                    {"prompt_id", 1},
                    {"sample_index", i},
                    {"prompt", "p"},
                    {"completion", "</script><b>" + std::to_string(i)},
                    {"ground_truth", "4"},
                    {"score", i == 5 ? json(nullptr) : json(i / 10.0)},
                    {"verdict", i == 5 ? "timeout" : "score"},
                    {"finish", "stop"},
                    {"tokens", 3},
                    {"mean_logprob", -0.5}}
                   .dump() +
               "\n";
    }
    base::write_file_atomic(run + "/episodes/step_002.jsonl", lines);
    base::write_file_atomic(run + "/episodes/eval_sft.jsonl", lines);
    return run;
  }

  std::string dir_ = testing::TempDir() + "fulmen_front_" + std::to_string(::getpid());
};

TEST_F(FrontTest, UnknownVerbNamesTheNearestOneOnOneLineAndExitsWithTwo) {
  const Outcome o = front({"trian", "configs/x.yaml"});
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err, "fulmen: unknown verb trian, did you mean train?\n");
  EXPECT_EQ(o.out, "");
  EXPECT_EQ(front({"flubber"}).err, "fulmen: unknown verb flubber; fulmen help lists them\n");
  EXPECT_EQ(front({"help", "dcotor"}).err, "fulmen: unknown verb dcotor, did you mean doctor?\n");
}

TEST_F(FrontTest, HelpListsOnlyVerbsWhoseToolIsThere) {
  const std::string without = front({"--help"}, dir_).out;
  EXPECT_NE(without.find("\n  report "), std::string::npos);
  EXPECT_EQ(without.find("\n  train "), std::string::npos);
  make_tool("fulmen-learner");
  const std::string with = front({}, dir_).out;
  EXPECT_NE(with.find("\n  train "), std::string::npos);
  EXPECT_EQ(with.find("\n  generate "), std::string::npos);
  EXPECT_NE(front({"help", "config"}).out.find("rollout.workers"), std::string::npos);
}

TEST_F(FrontTest, MissingToolIsNamed) {
  const Outcome o = front({"train"}, dir_);
  EXPECT_EQ(o.code, 1);
  EXPECT_EQ(o.err, "fulmen: train: its program is not built: want " + dir_ + "/fulmen-learner\n");
}

TEST_F(FrontTest, ToolGetsTheVerbAndEveryWordAndItsExitCodeIsOurs) {
  make_tool("fulmen-learner");
  make_tool("fulmen-bench");
  EXPECT_EXIT(run_front({"train", "a b", "run.seed=1"}, dir_), testing::ExitedWithCode(7),
              "fulmen-learner:train a b run.seed=1");
  EXPECT_EXIT(run_front({"bench", "--seconds", "1"}, dir_), testing::ExitedWithCode(7), "fulmen-bench:--seconds 1");
  EXPECT_EXIT(run_front({"help", "eval"}, dir_), testing::ExitedWithCode(7), "fulmen-learner:eval --help");
}

TEST_F(FrontTest, EveryVerbCarriedOutHereHasHelp) {
  for (const Verb& verb : all_verbs()) {
    if (!verb.tool.empty() || verb.name == "test") continue;
    const Outcome o = front({verb.name, "--help"});
    EXPECT_EQ(o.code, 0) << verb.name;
    EXPECT_TRUE(o.out.starts_with("fulmen " + verb.name)) << o.out;
  }
}

TEST(Arguments, SlipsAreUsageErrorsThatSayWhatWasWanted) {
  const Usage usage{"show", "Shows.", {"RUN", "[STEP]"}, {{"--every", "SECONDS", ""}, {"--once", "", ""}}};
  const Arguments a = parse_arguments(usage, {"r", "--every", "3", "--once"});
  EXPECT_EQ(a.positionals, std::vector<std::string>{"r"});
  EXPECT_EQ(a.options.at("--every"), "3");
  EXPECT_TRUE(a.has("--once"));
  EXPECT_EQ(parse_arguments(usage, {"--every=5", "r"}).options.at("--every"), "5");
  const auto error = [&](std::vector<std::string> words) { return error_of([&] { parse_arguments(usage, words); }); };
  EXPECT_EQ(error({}), "show: RUN is missing (fulmen show --help shows how)");
  EXPECT_EQ(error({"r", "--onec"}), "show: unknown option --onec, did you mean --once? (fulmen show --help shows how)");
  EXPECT_EQ(error({"r", "--every"}), "show: --every wants a value: SECONDS (fulmen show --help shows how)");
  EXPECT_EQ(error({"r", "--once=1"}), "show: --once takes no value (fulmen show --help shows how)");
  EXPECT_EQ(error({"a", "b", "c"}), "show: one word too many: c (fulmen show --help shows how)");
}

json data_of(const std::string& page) {
  const std::string begin = "type=\"application/json\">";
  const size_t at = page.find(begin) + begin.size();
  return json::parse(page.substr(at, page.find("</script>", at) - at));
}

TEST_F(FrontTest, ReportHoldsCurvesConfigurationAndCompletions) {
  const std::string run = make_run("a", 0.75);
  EXPECT_EQ(front({"report", run + "/"}).out, run + "/report.html\n");
  const std::string page = base::read_file(run + "/report.html");
  const json data = data_of(page);  // also: no completion can end the script element
  EXPECT_EQ(data["steps"], json({1, 2}));
  EXPECT_EQ(data["series"]["critic/rewards/mean"], json({0.5, 0.75}));
  EXPECT_EQ(data["series"]["actor/grad_norm"], json({nullptr, nullptr}));
  EXPECT_EQ(data["accuracy"].size(), 2u);  // both measurements of step 0
  bool seed_is_marked = false;
  for (const json& key : data["config"]["keys"]) seed_is_marked |= key == json({"run.seed", "9", true});
  EXPECT_TRUE(seed_is_marked);
  ASSERT_EQ(data["read"].size(), 1u);
  EXPECT_EQ(data["read"][0]["step"], 2);
  const json& read = data["read"][0]["episodes"];
  ASSERT_EQ(read.size(), 4u);
  EXPECT_EQ(read[0]["completion"], "</script><b>8");  // the best one, then down to the one without a score
  EXPECT_TRUE(read[3]["score"].is_null());
  EXPECT_EQ(read[3]["verdict"], "timeout");
}

TEST_F(FrontTest, ReportLoadsNothingFromTheNetwork) {
  std::string page = report_page();
  const std::string name_space = "http://www.w3.org/2000/svg";  // a name, never fetched
  page.erase(page.find(name_space), name_space.size());
  for (const char* trace : {"http:", "https:", "src=", "@import", "url("})
    EXPECT_EQ(page.find(trace), std::string::npos) << trace;
}

TEST_F(FrontTest, ReportOfARunWithNothingYetSaysWhatItWanted) {
  EXPECT_EQ(error_of([&] { render_report(dir_); }), dir_ + ": not a run directory: want " + dir_ + "/metrics.jsonl");
  base::write_file_atomic(dir_ + "/metrics.jsonl", "{\"step\":1,\"x\":2}\n{\"step\":2,\"x");  // still being written
  const json data = data_of(render_report(dir_));
  EXPECT_EQ(data["steps"], json({1}));
  EXPECT_TRUE(data["read"].empty());
  EXPECT_NE(data["config"]["missing"].get<std::string>().find("config.resolved.yaml"), std::string::npos);
}

TEST_F(FrontTest, LongCompletionKeepsItsHeadItsTailAndWholeCharacters) {
  const std::string run = make_run("a", 0.75);
  std::string text;
  for (int i = 0; i < 6001; ++i) text += "é";
  base::write_file_atomic(run + "/episodes/step_002.jsonl", json{{"completion", "x" + text + "THE END"}}.dump() + "\n");
  const std::string shown = data_of(render_report(run))["read"][0]["episodes"][0]["completion"];
  EXPECT_LT(shown.size(), 8200u);
  EXPECT_TRUE(shown.starts_with("xé"));
  EXPECT_TRUE(shown.ends_with("éTHE END"));
  EXPECT_EQ(shown.find("\xEF\xBF\xBD"), std::string::npos);  // no character was cut
}

TEST_F(FrontTest, DiffIgnoresClocksAndFindsTheFirstStepThatParts) {
  const std::string a = make_run("a", 0.75), b = make_run("b", 0.75), c = make_run("c", 0.5);
  EXPECT_TRUE(compare_runs(a, b).same) << compare_runs(a, b).text;
  const Difference d = compare_runs(a, c);
  EXPECT_FALSE(d.same);
  EXPECT_NE(d.text.find("step 2: critic/rewards/mean: 0.75 | 0.5\n"), std::string::npos) << d.text;
  EXPECT_EQ(front({"diff", a, b}).code, 0);
  EXPECT_EQ(front({"diff", a, c}).code, 1);
}

TEST_F(FrontTest, DiffComparesExportedBytesAndConfigurationKeys) {
  const std::string a = make_run("a", 0.75), b = make_run("b", 0.75);
  base::write_file_atomic(b + "/config.resolved.yaml", "rollout:\n  workers: 2\nrun:\n  seed: 9\n");
  for (const std::string& run : {a, b}) base::make_directories(run + "/export");
  base::write_file_atomic(a + "/export/model.safetensors", "same");
  base::write_file_atomic(b + "/export/model.safetensors", "same");
  const Difference same = compare_runs(a, b);
  EXPECT_TRUE(same.same);  // the configuration may differ: that is what is being tried
  EXPECT_NE(same.text.find("rollout.workers: 1 | 2\n"), std::string::npos) << same.text;
  base::write_file_atomic(b + "/export/model.safetensors", "sama");
  EXPECT_FALSE(compare_runs(a, b).same);
}

TEST_F(FrontTest, TopShowsTheNewestValueOfEachRow) {
  const std::string text = render_top(make_run("a", 0.75));
  EXPECT_NE(text.find("step 2"), std::string::npos) << text;
  EXPECT_NE(text.find("0.75  ▁█\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("gradient"), std::string::npos) << text;  // it never had a finite value
  EXPECT_EQ(front({"top", dir_ + "/a", "--every", "0"}).code, 2);
}

TEST(Doctor, NamesEveryPartOfTheMachineAndWhyTheCpuIsUsed) {
  std::string all;
  for (const Finding& f : examine_host(testing::TempDir())) all += f.name + ": " + f.text + "\n";
  for (const char* part :
       {"processor: ", "kernels: cpu-", "GPU: ", "memory: ", "disk: ", "shared memory: ", "python3: ", "open files "}) {
    EXPECT_NE(all.find(part), std::string::npos) << part << "\n" << all;
  }
  const Finding gone = [] {
    for (const Finding& f : examine_host("/proc/no/such/run")) {
      if (f.name == "disk") return f;
    }
    return Finding{};
  }();
  EXPECT_EQ(gone.health, Health::kProblem) << gone.text;
}

}  // namespace
}  // namespace fulmen::launch
