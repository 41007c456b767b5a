#pragma once
// The conductor's side of scoring: records that want a verdict, given to reward workers a few at a time, and given
// again when a worker is lost. A record is answered once, whatever happens to workers. Single thread.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "shared/wire/fulmen.pb.h"

namespace fulmen::learner {

class ScoreDesk {
 public:
  using Send = std::function<void(const std::string& worker, const wire::ScoreRequests& requests)>;

  void add(wire::ScoreRequest request);  // its id is unique
  // Sends what waits to the workers with the least to do.
  void issue(const std::vector<std::string>& workers, const Send& send);
  // Whether this is the first verdict on its record.
  bool take(const std::string& worker, const wire::Verdict& v);
  void lose(const std::string& worker);  // what it had goes back to the front of the queue
  size_t outstanding(const std::string& worker) const;
  size_t missing() const { return records_.size(); }
  void clear();  // late verdicts on what was asked before are ignored

  static constexpr size_t kOutstanding = 256;  // of one worker
  static constexpr int kAtOnce = 32;           // records of one message

 private:
  std::map<uint64_t, wire::ScoreRequest> records_;  // without a verdict
  std::deque<uint64_t> queue_;                      // of them, with no worker
  std::map<std::string, std::set<uint64_t>> given_;
};

}  // namespace fulmen::learner
