#pragma once
// Rewards over HTTP, for whoever is not a Fulmen run:
//
//   POST /score       {"records": [...]} or a list of records -> {"verdicts": [...]}, in order (record_json.h)
//   POST /get_reward  OpenRLHF: {"query": [...], "prompts": [...], "labels": [...]} -> {"rewards": [...]}
//   POST /rm          slime: {"prompt", "response", "label"} -> the body is the reward, a number
//   GET  /metrics     Prometheus: verdicts, latency histograms, queue
//   GET  /health      {"status": "ok", ...}
//
// The last two forms have no word for a verdict that is not a score. What the response is to blame for (unparsable) and
// what could not be told (undecided) is 0 there, and counted apart in /metrics; ?strict=1 refuses it with status 500.
// What is the function's or the ground truth's fault (error, timeout, a ground truth that is unparsable) is always
// status 500 naming it, never a silent 0. A request that finds the queue full waits, and gets 503 with Retry-After when
// it found no room for wait_ms; nothing that was taken in is lost.

#include <memory>
#include <string>

#include "reward/guarded.h"
#include "reward/scoring_pool.h"

namespace fulmen::reward {

struct HttpServiceOptions {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any free one
  size_t max_body_bytes = 64 << 20;
  size_t max_records = 8192;  // of one request
  int wait_ms = 10000;        // for room in the queue
  int connections = 64;       // served at once; more wait to be accepted
};

class HttpService {
 public:
  // Binds. Throws Error when the address cannot be had.
  HttpService(const HttpServiceOptions& options, ScoringPool& pool, Shared& shared);
  ~HttpService();
  int port() const;
  void run();   // serves until stop()
  void stop();  // from any thread

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// SIGINT and SIGTERM, blocked in this thread and those it starts from now on, so that wait() hears them.
class StopSignals {
 public:
  StopSignals();
  void wait() const;
};

// "HOST:PORT", ":PORT" or "PORT". Throws Error.
void parse_address(const std::string& text, HttpServiceOptions& options);

}  // namespace fulmen::reward
