#pragma once
// A reward service: connects to the conductor, says Hello, answers every ScoreRequest with one Verdict. One thread
// talks, those of the pool score, so heartbeats go on while a function runs. Requests whose deadline passed in the
// queue get a timeout verdict; while the queue is full no more are read from the socket.

#include <string>
#include <vector>

#include "reward/golden_cases.h"
#include "reward/scoring_pool.h"

namespace fulmen::reward {

struct ServiceOptions {
  std::string endpoint, run_id, name, config_hash;
  std::vector<GoldenCase> golden;  // scored when the conductor asks, past the cache
  int welcome_ms = 60000;          // Hello is repeated until Welcome; then Error
  int lost_ms = 30000;             // no connection to the conductor for this long: Error
  int heartbeat_ms = 1000;
};

// Serves until Stop (returns its reason). Throws Error when the conductor sends a Fault, never welcomes, or is gone.
std::string serve(const ServiceOptions& options, ScoringPool& pool);

}  // namespace fulmen::reward
