#pragma once
// A reward function on another machine: http(s)://HOST:PORT/PATH, asked by POST with retries inside the deadline.

#include <memory>
#include <string>

#include "reward/reward.h"

namespace fulmen::reward {

struct HttpFunctionOptions {
  // fulmen: {"records": [...]} -> {"verdicts": [...]}, as POST /score of `fulmen reward --http` answers it.
  // openrlhf: {"query": [...], "prompts": [...], "labels": [...]} -> {"rewards": [...]}, its --remote_rm_url.
  // slime: {"prompt", "response", "label"} -> the body is the reward, its --rm-type remote_rm; one record a request.
  std::string form = "fulmen";
  int deadline_ms = 10000;
  int attempts = 4;
};

std::unique_ptr<Function> make_http(const std::string& url, const HttpFunctionOptions& options);

}  // namespace fulmen::reward
