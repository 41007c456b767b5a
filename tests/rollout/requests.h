#pragma once
// Requests of odd sizes and how tests run and compare them.

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "rollout/engine.h"
#include "shared/base/rng.h"

namespace fulmen::rollout {

using Results = std::map<std::pair<uint64_t, uint32_t>, Completion>;  // by prompt id, sample index

inline GroupRequest request(uint64_t prompt_id, int64_t prompt_tokens, int samples, int max_new_tokens, int64_t vocab) {
  GroupRequest r;
  r.group_id = 1000 + prompt_id;
  r.prompt_id = prompt_id;
  base::Stream stream(11, base::Purpose::kTest, prompt_id);
  for (int64_t i = 0; i < prompt_tokens; ++i) r.prompt.push_back(static_cast<int32_t>(stream.next_int(0, vocab - 1)));
  for (int i = 0; i < samples; ++i) r.sample_index.push_back(static_cast<uint32_t>(i));
  r.settings.max_new_tokens = max_new_tokens;
  r.settings.repetition_window = 0;
  r.settings.seed = 5;
  return r;
}

inline Results run(Engine& engine, const std::vector<GroupRequest>& requests, int max_steps = 20000) {
  for (const GroupRequest& r : requests) engine.submit(r);
  Results results;
  for (int i = 0; i < max_steps && !engine.idle(); ++i) {
    for (Completion& c : engine.step()) {
      const auto key = std::pair(c.prompt_id, c.sample_index);
      EXPECT_TRUE(results.emplace(key, std::move(c)).second) << "completed twice: " << key.first << " " << key.second;
    }
  }
  EXPECT_TRUE(engine.idle()) << "not done after " << max_steps << " steps";
  return results;
}

inline void expect_same(const Results& got, const Results& want) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [key, w] : want) {
    ASSERT_TRUE(got.contains(key)) << "prompt " << key.first << " sample " << key.second;
    const Completion& g = got.at(key);
    EXPECT_EQ(g.tokens, w.tokens) << "prompt " << key.first << " sample " << key.second;
    ASSERT_EQ(g.logprob.size(), w.logprob.size());
    EXPECT_EQ(std::memcmp(g.logprob.data(), w.logprob.data(), w.logprob.size() * sizeof(float)), 0)
        << "log-prob bits of prompt " << key.first << " sample " << key.second;
    EXPECT_EQ(g.finish, w.finish);
    EXPECT_EQ(g.group_id, w.group_id);
  }
}

}  // namespace fulmen::rollout
