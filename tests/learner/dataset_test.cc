#include "learner/dataset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "shared/base/file.h"
#include "shared/task/task.h"

namespace fulmen::learner {
namespace {

// Evaluates an expression of the task (products first) independently of the generator.
int64_t evaluate(const std::string& text) {
  int64_t sum = 0, term = 0, number = 0;
  char pending = '+';
  bool product = false;
  const auto close = [&] {
    term = product ? term * number : number;
    number = 0;
  };
  for (const char c : text) {
    if (c >= '0' && c <= '9') {
      number = number * 10 + (c - '0');
      continue;
    }
    close();
    product = c == '*';
    if (c == '*') continue;
    sum += pending == '+' ? term : -term;
    pending = c;
  }
  return sum;
}

TEST(ArithmeticTask, AnswerIsTheValueAndEveryWorkedStepIsTrue) {
  for (int64_t i = 0; i < 2000; ++i) {
    const task::Problem p = task::make_problem(task::find_task("arithmetic"), {7, i % 2 == 0, i, 1, 5});
    EXPECT_EQ(std::to_string(evaluate(p.prompt)), p.answer) << p.prompt;
    EXPECT_EQ(p.worked.substr(p.worked.rfind("#### ") + 5), p.answer);
    size_t begin = 0;
    for (size_t end; (end = p.worked.find(';', begin)) != std::string::npos; begin = end + 1) {
      const std::string step = p.worked.substr(begin, end - begin);
      const size_t equals = step.find('=');
      const size_t op = step.find_first_of("+-*", 1);  // the first character may be a sign
      const int64_t a = std::stoll(step.substr(0, op)), b = std::stoll(step.substr(op + 1, equals - op - 1));
      const int64_t c = step[op] == '+' ? a + b : step[op] == '-' ? a - b : a * b;
      EXPECT_EQ(std::to_string(c), step.substr(equals + 1)) << p.worked;
    }
  }
}

// The prompts that earlier versions drew: published runs stay repeatable.
TEST(ArithmeticTask, ProblemsOfARunAreUnchanged) {
  const auto prompt = [](bool held_out, int64_t index) {
    return task::make_problem(task::find_task("arithmetic"), {1, held_out, index, 1, 3}).prompt;
  };
  EXPECT_EQ(prompt(false, 0), "2+3+1=");
  EXPECT_EQ(prompt(false, 5), "2-1=");
  EXPECT_EQ(prompt(true, 0), "5+4=");
}

class Mix : public ::testing::Test {
 protected:
  std::string path_ = ::testing::TempDir() + "/fulmen_mix_test.jsonl";
  std::unique_ptr<model::Tokenizer> tokenizer_ = model::load_tokenizer("byte");
  base::Config config_;
  void SetUp() override {
    std::string lines;
    for (int i = 0; i < 10; ++i)
      lines += R"({"data_source":"file","prompt":"p)" + std::to_string(i) +
               R"(","reward_model":{"ground_truth":"1"}})" + "\n";
    base::write_file_atomic(path_, lines);
    config_.data.max_prompt_tokens = 4000;
    config_.algorithm.prompts_per_step = 10;
    config_.data.mix = {{.task = "sudoku", .file = "", .difficulty = "1..9", .weight = 2},
                        {.task = "", .file = path_, .weight = 1},
                        {.task = "cipher", .file = "", .difficulty = "3", .weight = 1}};
  }
  static int difficulty_of(const PromptRecord& r) {
    const std::string key = "\"difficulty\":";
    return std::stoi(r.extra_info.substr(r.extra_info.find(key) + key.size()));
  }
};

TEST_F(Mix, SharesFollowTheWeightsAndAFileGoesInEpochs) {
  const auto d = make_dataset(config_, Split::kTrain, *tokenizer_);
  std::map<std::string, int> counts;
  std::vector<std::string> from_file;
  for (int64_t n = 0; n < 400; ++n) {
    const PromptRecord r = d->record(n);
    ++counts[r.data_source];
    if (r.data_source == "file") from_file.push_back(r.prompt);
  }
  EXPECT_NEAR(counts["logic/sudoku"], 200, 40);
  EXPECT_NEAR(counts["file"], 100, 30);
  EXPECT_NEAR(counts["logic/cipher"], 100, 30);
  ASSERT_GE(from_file.size(), 50u);
  for (size_t epoch = 0; epoch < 5; ++epoch)
    EXPECT_EQ(std::set<std::string>(from_file.begin() + static_cast<std::ptrdiff_t>(10 * epoch),
                                    from_file.begin() + static_cast<std::ptrdiff_t>(10 * epoch + 10))
                  .size(),
              10u);
}

TEST_F(Mix, APromptIsAFunctionOfItsNumberAlone) {
  const auto forward = make_dataset(config_, Split::kTrain, *tokenizer_),
             resumed = make_dataset(config_, Split::kTrain, *tokenizer_);
  std::vector<std::string> prompts;
  for (int64_t n = 0; n < 60; ++n) prompts.push_back(forward->record(n).prompt);
  for (int64_t n = 59; n >= 0; --n) EXPECT_EQ(resumed->record(n).prompt, prompts[static_cast<size_t>(n)]);
  EXPECT_EQ(resumed->record(9000).prompt, forward->record(9000).prompt);
}

TEST_F(Mix, ACurriculumRaisesTheHighestDifficulty) {
  config_.data.mix = {{.task = "cipher", .file = "", .difficulty = "1..9", .weight = 1}};
  config_.data.curriculum_steps = 16;
  const auto d = make_dataset(config_, Split::kTrain, *tokenizer_);
  const auto highest = [&](int64_t step) {
    int most = 0;
    for (int64_t n = 10 * step; n < 10 * step + 10; ++n) most = std::max(most, difficulty_of(d->record(n)));
    return most;
  };
  EXPECT_EQ(highest(0), 1);
  EXPECT_EQ(highest(1), 1);
  for (const int64_t step : {2, 4, 8, 12}) EXPECT_LE(highest(step), 1 + step / 2);
  int most = 0;
  for (int64_t step = 16; step < 22; ++step) most = std::max(most, highest(step));
  EXPECT_EQ(most, 9);
  const auto held_out = make_dataset(config_, Split::kEval, *tokenizer_);
  most = 0;
  for (int64_t n = 0; n < 20; ++n) most = std::max(most, difficulty_of(held_out->record(n)));
  EXPECT_GT(most, 5) << "held-out problems come from the whole range";
}

TEST_F(Mix, HeldOutProblemsAreOfTheTasksUnlessThereIsAFile) {
  const auto d = make_dataset(config_, Split::kEval, *tokenizer_);
  for (int64_t n = 0; n < 20; ++n) EXPECT_NE(d->record(n).data_source, "file");
  config_.data.eval = path_;
  EXPECT_EQ(make_dataset(config_, Split::kEval, *tokenizer_)->size(), 10);
}

TEST_F(Mix, MistakesAreNamed) {
  const auto error_of = [&](const base::MixEntry& e) -> std::string {
    config_.data.mix = {e};
    try {
      check_data(config_);
    } catch (const base::ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of({.task = "sudko", .file = ""}).find("did you mean sudoku?"), std::string::npos);
  EXPECT_NE(error_of({.task = "sudoku", .file = "", .difficulty = "0..3"}).find("within 1..10"), std::string::npos);
  EXPECT_NE(error_of({.task = "sudoku", .file = "", .difficulty = "3..11"}).find("within 1..10"), std::string::npos);
  EXPECT_EQ(error_of({.task = "sudoku", .file = "", .difficulty = "3..10"}), "");
  config_.data.max_prompt_tokens = 20;
  try {
    make_dataset(config_, Split::kTrain, *tokenizer_)->record(0);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("task sudoku, difficulty"), std::string::npos) << e.what();
  }
}

TEST(ShuffledIndex, EachEpochIsAPermutationOfItsOwn) {
  std::set<int64_t> first, second;
  std::vector<int64_t> a, b;
  for (int64_t n = 0; n < 50; ++n) a.push_back(shuffled_index(3, n, 50, true)), first.insert(a.back());
  for (int64_t n = 50; n < 100; ++n) b.push_back(shuffled_index(3, n, 50, true)), second.insert(b.back());
  EXPECT_EQ(first.size(), 50u);
  EXPECT_EQ(second.size(), 50u);
  EXPECT_NE(a, b);
  EXPECT_EQ(shuffled_index(3, 7, 50, true), a[7]);
  EXPECT_EQ(shuffled_index(3, 57, 50, false), 7);
}

class JsonlFile : public ::testing::Test {
 protected:
  std::string path_ = ::testing::TempDir() + "/fulmen_dataset_test.jsonl";
  std::unique_ptr<model::Tokenizer> tokenizer_ = model::load_tokenizer("byte");
  std::string error_of(const std::string& text, int max_prompt = 100) {
    base::write_file_atomic(path_, text);
    base::Config c;
    c.data.train = path_;
    c.data.max_prompt_tokens = max_prompt;
    try {
      make_dataset(c, Split::kTrain, *tokenizer_);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
};

const char* kGood =
    R"({"data_source":"gsm8k","prompt":[{"role":"user","content":"1+1?"}],"reward_model":{"ground_truth":"2"},"extra_info":{"index":0}})"
    "\n";

TEST_F(JsonlFile, VerlRecordsAreRead) {
  base::write_file_atomic(path_, std::string(kGood) + kGood);
  base::Config c;
  c.data.train = path_;
  const auto d = make_dataset(c, Split::kTrain, *tokenizer_);
  EXPECT_EQ(d->size(), 2);
  EXPECT_EQ(d->record(1).prompt, "1+1?");
  EXPECT_EQ(d->record(1).ground_truth, "2");
  EXPECT_EQ(d->record(1).ids.size(), 4u);
}

TEST_F(JsonlFile, BadLinesAreNamedByFileAndLine) {
  EXPECT_NE(error_of(std::string(kGood) + "{oops\n").find(path_ + ":2: not JSON"), std::string::npos);
  EXPECT_NE(error_of("{\"prompt\":\"x\",\"data_source\":\"s\"}\n").find(":1: no field reward_model.ground_truth"),
            std::string::npos);
  EXPECT_NE(error_of(kGood, 2).find("prompt has 4 tokens, want <= 2"), std::string::npos);
  EXPECT_NE(error_of("\n").find("holds no record"), std::string::npos);
}

}  // namespace
}  // namespace fulmen::learner
