#pragma once
// Verdicts by (function version, record), so that what was scored once is not scored again: a group often holds the
// same completion several times, and a re-issued record may have been answered by a lost worker. Bounded, the least
// recently used goes first. Thread-safe; locks are striped.

#include <array>
#include <atomic>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "reward/reward.h"
#include "shared/base/file.h"

namespace fulmen::reward {

class ResultCache {
 public:
  explicit ResultCache(size_t capacity) : capacity_((capacity + kStripes - 1) / kStripes) {}  // verdicts; 0 = off

  // Of everything a function may look at. The id and the deadline are not part of it.
  static base::Digest key(const Function& function, const Record& r);

  std::optional<Verdict> find(const base::Digest& key);
  // Only what the same record would give again is kept: score, unparsable, undecided.
  void store(const base::Digest& key, const Verdict& v);

 private:
  static constexpr size_t kStripes = 16;

  struct Hash {
    size_t operator()(const base::Digest& d) const;
  };
  struct Stripe {
    std::mutex mutex;
    std::list<std::pair<base::Digest, Verdict>> used;  // most recent first
    std::unordered_map<base::Digest, std::list<std::pair<base::Digest, Verdict>>::iterator, Hash> at;
  };

  Stripe& stripe(const base::Digest& key) { return stripes_[Hash()(key) % kStripes]; }

  const size_t capacity_;  // of one stripe
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace fulmen::reward
