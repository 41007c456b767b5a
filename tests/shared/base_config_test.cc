#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <regex>

#include "shared/base/config.h"
#include "shared/base/file.h"

namespace fulmen::base {
namespace {

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

class ConfigTest : public testing::Test {
 protected:
  void TearDown() override { remove_all(path_); }
  Config load(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
    write_file_atomic(path_, yaml);
    return load_config(path_, overrides);
  }
  // The error of `yaml` and overrides, with the file called FILE.
  std::string rejects(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
    const std::string message = error_of([&] { load(yaml, overrides); });
    const size_t at = message.find(path_);
    return at == std::string::npos ? message : message.substr(0, at) + "FILE" + message.substr(at + path_.size());
  }
  std::string path_ = testing::TempDir() + "fulmen_config_" + std::to_string(::getpid()) + ".yaml";
};

TEST_F(ConfigTest, CommandLineBeatsFileBeatsDefaultAndOriginSaysWhich) {
  const Config c = load("# run\nrun:\n  seed: 7\n\nrollout:\n  workers: 2\n", {"rollout.workers=3"});
  EXPECT_EQ(c.run.seed, 7);
  EXPECT_EQ(c.rollout.workers, 3);
  EXPECT_EQ(c.algorithm.steps, 100);
  EXPECT_EQ(c.origin.at("run.seed"), path_ + ":3");
  EXPECT_EQ(c.origin.at("rollout.workers"), "command line");
  EXPECT_EQ(c.origin.at("algorithm.steps"), "default");
}

TEST_F(ConfigTest, UnknownKeyNamesTheNearestOneAndItsPlace) {
  EXPECT_EQ(rejects("run:\n  seed: 7\nrollot:\n  workers: 2\n"),
            "unknown key rollot.workers, did you mean rollout.workers? [FILE:4]");
  EXPECT_EQ(rejects("", {"rollot.workers=2"}),
            "unknown key rollot.workers, did you mean rollout.workers? [command line]");
  EXPECT_EQ(rejects("", {"ratio_max=2"}), "unknown key ratio_max, did you mean algorithm.ratio_max? [command line]");
  EXPECT_EQ(rejects("", {"zzzzzzzz.qqqqqqqqqqqq=2"}), "unknown key zzzzzzzz.qqqqqqqqqqqq [command line]");
}

TEST_F(ConfigTest, APathInAFileIsSeenFromTheWorkingDirectoryOrElseFromTheFile) {
  namespace fs = std::filesystem;
  const std::string dir = testing::TempDir() + "fulmen_beside_" + std::to_string(::getpid());
  fs::create_directories(dir + "/models/tiny");
  write_file_atomic(dir + "/reward.py", "");
  path_ = dir + "/x.yaml";
  const std::string yaml =
      "run: {dir: models/tiny}\nmodel: {path: models/tiny, tokenizer: byte}\nreward: {functions: [math, "
      "\"python:reward.py:f(memory_mb=9)=2\"]}\n";
  const Config c = load(yaml);
  EXPECT_EQ(c.model.path, dir + "/models/tiny");
  EXPECT_EQ(c.model.tokenizer, "byte");
  EXPECT_EQ(c.run.dir, "models/tiny");  // written, not read
  EXPECT_EQ(c.reward.functions[1], "python:" + dir + "/reward.py:f(memory_mb=9)=2");
  EXPECT_EQ(load(yaml, {"model.path=models/tiny"}).model.path, "models/tiny");
  EXPECT_EQ(load("model: {path: no/such}\n").model.path, "no/such");

  const fs::path before = fs::current_path();
  fs::current_path(dir);
  EXPECT_EQ(load(yaml).model.path, "models/tiny");
  fs::current_path(before);
  fs::remove_all(dir);
}

TEST_F(ConfigTest, AMixOfSourcesIsReadPrintedAndReadAgain) {
  const Config c = load(
      "data:\n  mix:\n    - {task: sudoku, difficulty: 2..4, weight: 0.25}\n    - file: \"a b.jsonl\"\n  "
      "curriculum_steps: 20\n");
  ASSERT_EQ(c.data.mix.size(), 2u);
  EXPECT_EQ(c.data.mix[0].task, "sudoku");
  EXPECT_EQ(c.data.mix[0].difficulty, "2..4");
  EXPECT_EQ(c.data.mix[0].weight, 0.25f);
  EXPECT_EQ(c.data.mix[1].file, "a b.jsonl");
  EXPECT_EQ(c.data.mix[1].weight, 1.0f);
  EXPECT_EQ(c.data.curriculum_steps, 20);
  EXPECT_NE(
      to_yaml(c, true).find("mix: [{task: sudoku, difficulty: 2..4, weight: 0.25}, {file: \"a b.jsonl\", weight: 1}]"),
      std::string::npos)
      << to_yaml(c, true);
  EXPECT_EQ(to_yaml(load(to_yaml(c, false)), false), to_yaml(c, false));
  const Config from_words = load("", {"data.mix=[{task: cipher, weight: 2}, {file: x.jsonl}]"});
  EXPECT_EQ(from_words.data.mix.size(), 2u);
  EXPECT_EQ(from_words.data.mix[0].weight, 2.0f);
  EXPECT_TRUE(load("", {"data.mix=[]"}).data.mix.empty());
}

TEST_F(ConfigTest, MistakesInAMixAreNamed) {
  EXPECT_EQ(rejects("data:\n  mix:\n    - task: sudoku\n      wieght: 2\n"),
            "unknown key data.mix[0].wieght, did you mean weight? [FILE:4]");
  EXPECT_EQ(rejects("data:\n  mix:\n    - {task: a, weight: x}\n"),
            "data.mix[0].weight: got \"x\", want number in 0..1000000 [FILE:3]");
  EXPECT_EQ(rejects("data:\n  mix:\n    - {task: a, task: b}\n"), "data.mix[0].task is given twice [FILE:3]");
  EXPECT_EQ(rejects("data:\n  mix:\n    - {task: a, file: b}\n"),
            "data.mix: entry 0: want either task or file [FILE:2]");
  EXPECT_EQ(rejects("data:\n  mix:\n    - {task: a}\n    - {task: a, weight: 0}\n"),
            "data.mix: entry 1: weight is 0, want more than 0 [FILE:2]");
  EXPECT_NE(rejects("data:\n  mix:\n    - {task: a, difficulty: 4..2}\n").find("LOW..HIGH"), std::string::npos);
  EXPECT_EQ(rejects("data:\n  mix: sudoku\n"), "data.mix: got \"sudoku\", want list of sources [FILE:2]");
  EXPECT_EQ(rejects("data:\n  mix: [sudoku]\n"), "data.mix: got the list [sudoku], want list of sources [FILE:2]");
  EXPECT_EQ(rejects("data:\n  mix: [{task: [a]}]\n"), "data.mix: want KEY: VALUE in each table [FILE:2]");
  EXPECT_EQ(rejects("data:\n  mix: [{task: a}, b]\n"),
            "data.mix: a list holds plain values or tables, not both [FILE:2]");
  EXPECT_EQ(rejects("rollout:\n  stop: [{a: b}]\n"), "rollout.stop: got a list of tables, want list [FILE:2]");
  EXPECT_NE(error_of([&] {
              validate_for_train(load("", {"model.path=/", "data.task=x", "data.mix=[{task: y}]"}));
            }).find("more than one of data.train, data.task and data.mix"),
            std::string::npos);
}

TEST_F(ConfigTest, WrongTypeAndRangeSayGotAndWant) {
  EXPECT_EQ(rejects("rollout:\n  workers: two\n"), "rollout.workers: got \"two\", want integer in 1..4096 [FILE:2]");
  EXPECT_EQ(rejects("", {"rollout.workers=0"}), "rollout.workers: got \"0\", want integer in 1..4096 [command line]");
  EXPECT_EQ(rejects("", {"run.seed=1.5"}), "run.seed: got \"1.5\", want integer in 0..2^53 [command line]");
  EXPECT_EQ(rejects("", {"rollout.top_p=nan"}), "rollout.top_p: got \"nan\", want number in 0..1 [command line]");
  EXPECT_EQ(rejects("", {"algorithm.loss=ppo"}),
            "algorithm.loss: got \"ppo\", want cispo | grpo | dapo [command line]");
  EXPECT_EQ(rejects("model:\n  recompute: yes\n"), "model.recompute: got \"yes\", want true | false [FILE:2]");
  EXPECT_EQ(rejects("run:\n  dir: [a, b]\n"), "run.dir: got the list [a, b], want text [FILE:2]");
}

TEST_F(ConfigTest, MisshapenFilesGiveOneLineWithTheirPlace) {
  EXPECT_EQ(rejects("run:\n  seed: 1\n  seed: 2\n"), "run.seed is given twice [FILE:3]");
  EXPECT_EQ(rejects("run:\n  seed:\n"), "run.seed has no value [FILE:2]");
  EXPECT_EQ(rejects("run: 3\n"), "run is a section, want keys under it, e.g. run.dir [FILE:1]");
  EXPECT_EQ(rejects("- 1\n"), "want sections with keys under them [FILE:1]");
  EXPECT_TRUE(std::regex_match(rejects("run:\n  dir: [a\n"), std::regex("not YAML: .* \\[FILE:\\d+\\]")));
  EXPECT_EQ(rejects("run:\n  dir: \"a\\\n").find('\n'), std::string::npos) << "quoted as it stands in the file";
  EXPECT_EQ(rejects("run:\n  \"a\\nb\": 1\n").find('\n'), std::string::npos);
  EXPECT_EQ(rejects("", {"rollout.workers"}), "got \"rollout.workers\", want key.path=value [command line]");
  EXPECT_NE(error_of([] { load_config("/no/such.yaml", {}); }).find("/no/such.yaml"), std::string::npos);
}

TEST_F(ConfigTest, EmptyFileAndEmptySectionAreDefaults) {
  EXPECT_EQ(to_yaml(load(""), false), to_yaml(Config{}, false));
  EXPECT_EQ(to_yaml(load("rollout:\n"), false), to_yaml(Config{}, false));
}

TEST_F(ConfigTest, ListsMayBeYamlOrCommas) {
  const std::vector<std::string> both{"math", "format=0.1"};
  EXPECT_EQ(load("reward:\n  functions: [math, format=0.1]\n").reward.functions, both);
  EXPECT_EQ(load("", {"reward.functions=math,format=0.1"}).reward.functions, both);
  EXPECT_EQ(load("", {"reward.functions=[math, format=0.1]"}).reward.functions, both);
  EXPECT_EQ(load("", {"rollout.stop=[\"\\n\\n\", \"a, b\"]"}).rollout.stop, (std::vector<std::string>{"\n\n", "a, b"}));
  EXPECT_TRUE(load("", {"rollout.stop="}).rollout.stop.empty());
}

// What --print-config shows, and what config.resolved.yaml holds, must load to the same run, odd values included.
TEST_F(ConfigTest, PrintedConfigLoadsToItself) {
  const Config c = load("", {"run.dir=runs/a b: #c", "optimizer.eps=1e-15", "optimizer.lr=0.1", "model.path=null",
                             "rollout.stop=[\"\\n\", \"\\\\ \\\"\", \"\\x01\", \"é\", \"-\", \"\"]", "data.task=true"});
  EXPECT_EQ(c.rollout.stop.size(), 6u);
  const std::string yaml = to_yaml(c, false);
  const Config again = load(yaml);
  EXPECT_EQ(to_yaml(again, false), yaml);
  EXPECT_EQ(again.rollout.stop, c.rollout.stop);
  EXPECT_EQ(again.optimizer.lr, c.optimizer.lr);
  EXPECT_EQ(again.run.dir, c.run.dir);
  EXPECT_EQ(again.model.path, "null");
  EXPECT_EQ(to_yaml(load(to_yaml(c, true)), false), yaml);  // origins are comments
}

TEST_F(ConfigTest, HashIgnoresOnlyTheDirectory) {
  const std::string hash = config_hash(load("", {"run.dir=a"}));
  EXPECT_EQ(hash.size(), 32u);
  EXPECT_EQ(hash, config_hash(load("", {"run.dir=b"})));
  EXPECT_NE(hash, config_hash(load("", {"run.seed=2"})));
  EXPECT_NE(hash, config_hash(load("", {"optimizer.lr=0.00010001"})));
}

TEST_F(ConfigTest, HelpHasALineWithASentenceForEveryKey) {
  const std::string help = config_help();
  const Config c = load("");
  size_t lines = 0;
  for (const auto& [key, origin] : c.origin) {
    EXPECT_TRUE(std::regex_search(help, std::regex("(^|\n)" + key + " +\\S.*[a-z]{2}"))) << key;
  }
  for (const char ch : help) lines += ch == '\n';
  EXPECT_EQ(lines, c.origin.size());
}

TEST_F(ConfigTest, RelativeClipBoundsAreRefused) {
  EXPECT_NE(rejects("", {"algorithm.ratio_max=0.2"}).find("is 1.2 [command line]"), std::string::npos);
  EXPECT_NE(rejects("", {"algorithm.ratio_min=1.1"}).find("at most 1"), std::string::npos);
  EXPECT_NE(rejects("", {"data.difficulty=3..1"}).find("LOW..HIGH"), std::string::npos);
  EXPECT_NE(rejects("", {"data.difficulty=3-5"}).find("LOW..HIGH"), std::string::npos);
}

class TrainConfigTest : public ConfigTest {
 protected:
  std::string train_rejects(std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), {"model.path=/", "data.task=arithmetic"});
    return error_of([&] { validate_for_train(load("", overrides)); });
  }
};

TEST_F(TrainConfigTest, TruncatedSamplingIsRefusedBecauseItIsNotWhatIsTrained) {
  EXPECT_EQ(train_rejects({}), "accepted");
  for (const char* setting : {"rollout.top_p=0.9", "rollout.top_k=40", "rollout.min_p=0.1"}) {
    const std::string message = train_rejects({setting});
    EXPECT_NE(message.find("the distribution sampled from would not be the one that is trained"), std::string::npos)
        << message;
    EXPECT_NE(message.find("[command line]"), std::string::npos) << message;
  }
  EXPECT_NE(train_rejects({"rollout.temperature=0"}).find("greedy"), std::string::npos);
  EXPECT_EQ(error_of([&] { load("", {"rollout.top_p=0.9"}); }), "accepted");  // generation may
}

TEST_F(TrainConfigTest, PromptsGroupsAndAModelAreNeeded) {
  EXPECT_NE(train_rejects({"data.task="}).find("data.train: not given"), std::string::npos);
  EXPECT_NE(train_rejects({"data.train=x.jsonl"}).find("one of them"), std::string::npos);
  EXPECT_NE(train_rejects({"model.path="}).find("model.path: not given"), std::string::npos);
  EXPECT_NE(train_rejects({"algorithm.samples_per_prompt=1"}).find("at least 2"), std::string::npos);
  EXPECT_NE(train_rejects({"algorithm.updates_per_step=33"}).find("prompts_per_step = 32"), std::string::npos);
  EXPECT_NE(train_rejects({"data.task=", "data.train=x", "eval.every=1"}).find("eval.every"), std::string::npos);
  EXPECT_NE(train_rejects({"data.task=", "data.train=x", "sft.steps=1"}).find("sft.data"), std::string::npos);
}

TEST(Nearest, FindsSlipsOfTheFingerAndNothingElse) {
  const std::vector<std::string> verbs{"train", "eval", "export", "inspect", "top"};
  EXPECT_EQ(nearest("trian", verbs), "train");
  EXPECT_EQ(nearest("exprot", verbs), "export");
  EXPECT_EQ(nearest("insect", verbs), "inspect");
  EXPECT_EQ(nearest("flubber", verbs), "");
  EXPECT_EQ(nearest("", verbs), "");
}

}  // namespace
}  // namespace fulmen::base
