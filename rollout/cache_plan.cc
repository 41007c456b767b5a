#include "rollout/cache_plan.h"

#include <fmt/core.h>

#include <algorithm>

namespace fulmen::rollout {

CachePlan plan_cache(int64_t slot_bytes, int64_t page_bytes, const EngineLimits& limits) {
  FULMEN_CHECK(limits.max_sequences >= 1 && limits.prefill_rows >= 1 && limits.max_tokens >= 1,
               fmt::format("engine limits: got max_sequences {}, prefill_rows {}, max_tokens {}, want at least 1 each",
                           limits.max_sequences, limits.prefill_rows, limits.max_tokens));
  constexpr int64_t kMiB = 1 << 20;
  CachePlan plan;
  plan.max_pages_per_slot = pages_for(limits.max_tokens);
  const int64_t one = slot_bytes + plan.max_pages_per_slot * page_bytes;
  FULMEN_CHECK(
      one <= limits.memory_bytes,
      fmt::format("rollout cache: one sequence of {} tokens needs {:.1f} MiB (state {:.1f} + {} pages of 64 tokens "
                  "{:.1f}), got {:.1f} MiB; raise rollout.memory_mb to at least {}, or lower max_new_tokens",
                  limits.max_tokens, static_cast<double>(one) / kMiB, static_cast<double>(slot_bytes) / kMiB,
                  plan.max_pages_per_slot, static_cast<double>(plan.max_pages_per_slot * page_bytes) / kMiB,
                  static_cast<double>(limits.memory_bytes) / kMiB, (one + kMiB - 1) / kMiB));
  const int64_t half = slot_bytes + (plan.max_pages_per_slot + 1) / 2 * page_bytes;
  const int64_t most = half > 0 ? limits.memory_bytes / half : limits.max_sequences;
  plan.slots = std::clamp<int64_t>(most, 1, limits.max_sequences);
  const int64_t useful = plan.slots * plan.max_pages_per_slot;
  plan.pages = page_bytes > 0 ? std::min(useful, (limits.memory_bytes - plan.slots * slot_bytes) / page_bytes) : useful;
  if (plan.pages < plan.max_pages_per_slot) {  // a few slots' worth of half sequences may hold no whole one
    plan.slots = slot_bytes > 0 ? (limits.memory_bytes - plan.max_pages_per_slot * page_bytes) / slot_bytes : 1;
    plan.pages = plan.max_pages_per_slot;
  }
  return plan;
}

void check_device_memory(const CachePlan& plan, int64_t slot_bytes, int64_t page_bytes, int64_t vocab_size,
                         size_t bytes_free) {
  const int64_t caches = plan.slots * slot_bytes + plan.pages * page_bytes, logits = plan.slots * vocab_size * 4;
  const auto most = static_cast<int64_t>(std::min<size_t>(bytes_free, INT64_MAX / 2) / 10 * 9) - logits;
  constexpr int64_t kMiB = 1 << 20;
  const int64_t sequences = (most + logits) / 2 / (vocab_size * 4);  // whose logits leave half of it for caches
  FULMEN_CHECK(
      caches <= most,
      fmt::format("rollout.memory_mb: the caches take {} MiB and logits {} MiB, the device has {} MiB free; {}",
                  caches / kMiB, logits / kMiB, bytes_free / kMiB,
                  most >= kMiB     ? fmt::format("lower rollout.memory_mb to {}", most / kMiB)
                  : sequences >= 1 ? fmt::format("lower rollout.max_sequences to {}", sequences)
                                   : "other processes leave too little of it: free the device"));
}

PagePool::PagePool(int64_t pages) : holders_(static_cast<size_t>(pages), 0) {
  free_.reserve(static_cast<size_t>(pages));
  for (int64_t p = pages; p-- > 0;) free_.push_back(static_cast<int32_t>(p));
}

int32_t PagePool::take() {
  if (free_.empty()) return -1;
  const int32_t page = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagePool::share(int32_t page) {
  FULMEN_CHECK(holders_.at(static_cast<size_t>(page)) > 0, fmt::format("page pool: page {} shared while free", page));
  ++holders_[static_cast<size_t>(page)];
}

void PagePool::release(int32_t page) {
  int32_t& holders = holders_.at(static_cast<size_t>(page));
  FULMEN_CHECK(holders > 0, fmt::format("page pool: page {} released while free", page));
  if (--holders == 0) free_.push_back(page);
}

}  // namespace fulmen::rollout
