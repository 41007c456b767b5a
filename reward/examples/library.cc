// A reward in C++ behind the C interface: c++ -shared -fPIC -O2 -I FULMEN_SOURCE library.cc -o libmine.so, then
// reward.functions: [c:libmine.so]. Scores 1 when the response ends in the ground truth; reports how much text stands
// before it.
#include <cstdio>
#include <cstring>
#include <string_view>

#include "reward/fulmen_reward.h"

static int score(void*, const fulmen_reward_record* records, size_t n, fulmen_reward_verdict* verdicts) {
  for (size_t i = 0; i < n; ++i) {
    const std::string_view response(records[i].response.data, records[i].response.size);
    const std::string_view truth(records[i].ground_truth.data, records[i].ground_truth.size);
    const bool right = response.ends_with(truth);
    verdicts[i].score = right ? 1 : 0;
    verdicts[i].components = 1;
    std::snprintf(verdicts[i].component[0].name, sizeof verdicts[i].component[0].name, "before");
    verdicts[i].component[0].score = static_cast<double>(response.size() - (right ? truth.size() : 0));
    if (!right) std::snprintf(verdicts[i].detail, sizeof verdicts[i].detail, "does not end in the answer");
  }
  return 0;
}

extern "C" const fulmen_reward_functions* fulmen_reward_library(uint32_t abi) {
  static const fulmen_reward_functions kFunctions = {
      FULMEN_REWARD_ABI, sizeof(fulmen_reward_functions), 64, 0, nullptr, score, nullptr};
  return abi == FULMEN_REWARD_ABI ? &kFunctions : nullptr;
}
