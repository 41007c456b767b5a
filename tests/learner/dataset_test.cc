#include "learner/dataset.h"

#include <gtest/gtest.h>

#include <set>

#include "learner/arithmetic_task.h"
#include "shared/base/file.h"

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
    const ArithmeticProblem p = make_arithmetic(7, i % 2 == 0, i, 1, 5);
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

TEST(ArithmeticTask, IsAFunctionOfSeedAndIndexAndSplitsAreDisjoint) {
  std::set<std::string> train, eval;
  for (int64_t i = 0; i < 3000; ++i) {
    train.insert(make_arithmetic(1, false, i, 1, 3).prompt);
    eval.insert(make_arithmetic(1, true, i, 1, 3).prompt);
  }
  EXPECT_EQ(make_arithmetic(1, false, 5, 1, 3).prompt, make_arithmetic(1, false, 5, 1, 3).prompt);
  EXPECT_NE(make_arithmetic(1, false, 5, 1, 3).prompt, make_arithmetic(2, false, 5, 1, 3).prompt);
  for (const std::string& p : eval) EXPECT_EQ(train.count(p), 0u) << p;
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
