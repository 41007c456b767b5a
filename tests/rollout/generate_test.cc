#include "rollout/generate.h"

#include <gtest/gtest.h>

#include <sstream>

#include "rollout/utf8_stream.h"
#include "shared/model/parity.h"

namespace fulmen::rollout {
namespace {

class GenerateTest : public ::testing::Test {
 protected:
  GenerateTest() {
    model::ModelConfig c = model::parity_model();
    c.vocab_size = 259;
    model_.weights = std::make_unique<model::Weights>(c, kernels::DType::kF32);
    model_.tokenizer = model::load_tokenizer("byte");
    model::parity_init(*model_.weights, 3);
    model_.weights->pack(ctx_);
    options_.prompt = "12+7*3=";
    options_.settings.max_new_tokens = 60;
  }
  GenerateResult run() { return generate(options_, config_, model_, ctx_, out_, err_); }
  std::string text_of(const Completion& c) const {
    std::vector<int32_t> ids = c.tokens;
    std::erase(ids, model_.tokenizer->eos_id());
    Utf8Stream s;
    std::string text = s.push(model_.tokenizer->decode(ids));
    return text + s.flush() + "\n";
  }

  kernels::ThreadPool pool_{1};
  kernels::Context ctx_ = kernels::cpu_context(pool_);
  LoadedModel model_;
  base::Config config_;
  GenerateOptions options_;
  std::ostringstream out_, err_;
};

TEST_F(GenerateTest, StreamedTextIsTheCompletionAndNumbersGoElsewhere) {
  const GenerateResult r = run();
  ASSERT_EQ(r.completions.size(), 1u);
  EXPECT_EQ(out_.str(), text_of(r.completions[0]));
  EXPECT_NE(err_.str().find("7 prompt tokens, 60 tokens in "), std::string::npos) << err_.str();
  EXPECT_NE(err_.str().find("finish: length\n"), std::string::npos) << err_.str();
}

TEST_F(GenerateTest, SamplesArePrintedWholeAndInOrder) {
  options_.samples = 3;
  config_.rollout.max_sequences = 2;
  const GenerateResult r = run();
  std::string want;
  for (const Completion& c : r.completions) {
    const std::string finish = c.finish == Finish::kStop ? "stop" : "length";
    want += "--- sample " + std::to_string(&c - r.completions.data()) + " (" + std::to_string(c.tokens.size()) +
            " tokens, " + finish + ")\n" + text_of(c);
  }
  EXPECT_EQ(out_.str(), want);
}

TEST_F(GenerateTest, OneSequenceFitsWhateverTheBudgetSays) {
  config_.rollout.memory_mb = 0;
  EXPECT_EQ(run().completions.size(), 1u);
}

TEST_F(GenerateTest, EmptyPromptSaysWhereTextComesFrom) {
  options_.prompt.clear();
  try {
    run();
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "prompt: empty, want text from --prompt or standard input");
  }
}

}  // namespace
}  // namespace fulmen::rollout
