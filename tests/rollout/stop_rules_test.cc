#include "rollout/stop_rules.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fulmen::rollout {
namespace {

class WordTokenizer final : public model::Tokenizer {
 public:
  explicit WordTokenizer(std::vector<std::string> words) : words_(std::move(words)) {}
  std::vector<int32_t> encode(std::string_view) const override { return {}; }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) text += words_.at(static_cast<size_t>(id));
    ++decoded;
    return text;
  }
  int32_t token_id(std::string_view) const override { return -1; }
  int64_t vocab_size() const override { return static_cast<int64_t>(words_.size()); }
  int32_t eos_id() const override { return -1; }
  std::string describe() const override { return "words"; }
  mutable int decoded = 0;

 private:
  std::vector<std::string> words_;
};

const std::vector<std::string> kWords = {"a", "b", "ab", "</", "answer", ">", "x</answer> and more", "", "\n"};

// Index of the token at which the rules stop, -1 for never.
int stops_at(const StopRules& rules, const std::vector<int32_t>& tokens, std::optional<Finish> want = Finish::kStop) {
  StopState state;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto finish = rules.check(state, tokens[i], -1.0f, static_cast<int64_t>(i + 1));
    if (finish) {
      EXPECT_EQ(finish, want);
      return static_cast<int>(i);
    }
  }
  return -1;
}

GenerateSettings settings_with(std::vector<std::string> stop) {
  GenerateSettings g;
  g.stop = std::move(stop);
  return g;
}

TEST(StopRules, StopStringIsFoundAcrossTokenBorders) {
  const WordTokenizer t(kWords);
  const StopRules rules(settings_with({"</answer>"}), &t, -1);
  EXPECT_EQ(stops_at(rules, {0, 3, 4, 5, 0}), 3);
  EXPECT_EQ(stops_at(rules, {3, 7, 4, 7, 5}), 4) << "empty tokens between";
  EXPECT_EQ(stops_at(rules, {0, 6}), 1) << "inside one token";
  EXPECT_EQ(stops_at(rules, {3, 4, 0, 5, 4, 5}), -1);
}

TEST(StopRules, OverlappingBeginningsAreNotMissed) {
  const WordTokenizer t(kWords);
  EXPECT_EQ(stops_at(StopRules(settings_with({"aab"}), &t, -1), {0, 0, 0, 1}), 3);
  EXPECT_EQ(stops_at(StopRules(settings_with({"abab", "\n"}), &t, -1), {0, 2, 0, 8}), 3);
  EXPECT_EQ(stops_at(StopRules(settings_with({"abab", "\n"}), &t, -1), {0, 2, 2}), 2);
  EXPECT_EQ(stops_at(StopRules(settings_with({"b"}), &t, -1), {0, 2}), 1);
}

TEST(StopRules, TailHoldsNoMoreThanAStopStringMayNeed) {
  const WordTokenizer t(kWords);
  const StopRules rules(settings_with({"zzzz", "zz"}), &t, -1);
  StopState state;
  for (int i = 1; i < 100; ++i) EXPECT_FALSE(rules.check(state, 6, -1.0f, i));
  EXPECT_EQ(state.tail, "ore");
}

TEST(StopRules, NothingIsDecodedWithoutStopStrings) {
  const WordTokenizer t(kWords);
  EXPECT_EQ(stops_at(StopRules(settings_with({}), &t, -1), {0, 1, 2}), -1);
  EXPECT_EQ(t.decoded, 0);
}

TEST(StopRules, PaddingOfTheVocabularyHasNoText) {
  const WordTokenizer t(kWords);
  EXPECT_EQ(stops_at(StopRules(settings_with({"ab"}), &t, -1), {0, 4000, 1}), 2);
}

TEST(StopRules, EndTokenComesBeforeLength) {
  GenerateSettings g;
  g.max_new_tokens = 3;
  const StopRules rules(g, nullptr, 9);
  EXPECT_EQ(stops_at(rules, {1, 1, 9}, Finish::kStop), 2);
  EXPECT_EQ(stops_at(rules, {1, 1, 1}, Finish::kLength), 2);
}

TEST(StopRules, RepetitionCountsOnlyConsecutiveConfidentTokens) {
  GenerateSettings g;
  g.repetition_window = 3;
  g.repetition_prob = 0.5f;
  const StopRules rules(g, nullptr, -1);
  const float sure = -0.1f, exact = std::log(0.5f);
  StopState state;
  const float logprob[] = {sure, sure, exact, sure, sure};  // exactly repetition_prob is not above it
  int count = 0;
  for (const float l : logprob) EXPECT_FALSE(rules.check(state, 1, l, ++count));
  EXPECT_EQ(rules.check(state, 1, sure, ++count), Finish::kRepetition);

  g.repetition_window = 0;
  const StopRules off(g, nullptr, -1);
  StopState other;
  for (int i = 1; i < 50; ++i) EXPECT_FALSE(off.check(other, 1, 0.0f, i));
}

TEST(StopRules, EmptyStopStringIsAnError) {
  const WordTokenizer t(kWords);
  EXPECT_THROW(StopRules(settings_with({"a", ""}), &t, -1), Error);
}

}  // namespace
}  // namespace fulmen::rollout
