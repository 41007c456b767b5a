#pragma once
// How the memory of rollout.memory_mb becomes slots (lightning state, one a running sequence) and pages (softmax K and
// V of 64 tokens, shared between the completions of a group).

#include <cstdint>
#include <vector>

#include "rollout/engine.h"

namespace fulmen::rollout {

inline constexpr int64_t kPageTokens = kernels::kAttentionTile;

inline int64_t pages_for(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

struct CachePlan {
  int64_t slots = 0, pages = 0, max_pages_per_slot = 0;
};

// As many slots as leave each of them pages for half of max_tokens; pages get the rest. Throws Error naming the number
// to raise when not even one sequence of max_tokens fits.
CachePlan plan_cache(int64_t slot_bytes, int64_t page_bytes, const EngineLimits& limits);

// Throws Error naming rollout.memory_mb and what to lower it to when the caches and the logits of all rows do not fit
// into what a device has free, a tenth of which is left for activations and scratch. Host memory is not asked.
void check_device_memory(const CachePlan& plan, int64_t slot_bytes, int64_t page_bytes, int64_t vocab_size,
                         size_t bytes_free);

// Free list with reference counts: a page goes back when the last sequence that holds it lets go. Pages (and slots) are
// handed out lowest first, so memory that was never needed is never touched.
class PagePool {
 public:
  explicit PagePool(int64_t pages);
  int32_t take();              // -1: none free
  void share(int32_t page);    // one more holder
  void release(int32_t page);  // one holder less
  int64_t free() const { return static_cast<int64_t>(free_.size()); }

 private:
  std::vector<int32_t> holders_, free_;
};

}  // namespace fulmen::rollout
