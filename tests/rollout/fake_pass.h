#pragma once
// A model that is nothing but its cache: a row's logits are a hash of all tokens up to it. The hash is kept in the slot
// (as lightning keeps its state) and computed again from the tokens in the pages (as softmax attention reads K and V);
// when the two differ, or a slot is not where the segment says, scheduling went wrong and forward throws.

#include <fmt/core.h>

#include <array>
#include <map>
#include <vector>

#include "rollout/cache_plan.h"
#include "rollout/forward_pass.h"

namespace fulmen::rollout {

class FakePass final : public ForwardPass {
 public:
  FakePass(const CachePlan& plan, int64_t vocab, float sharpness = 4)
      : slots_(static_cast<size_t>(plan.slots)),
        pages_(static_cast<size_t>(plan.pages)),
        vocab_(vocab),
        sharpness_(sharpness) {
    for (Slot& s : slots_) s.table.assign(static_cast<size_t>(plan.max_pages_per_slot), -1);
  }

  int64_t vocab_size() const override { return vocab_; }
  void set_weights(const model::Weights&) override { ++weights_set; }

  void forward(const model::Batch& batch, std::span<const int32_t> logit_rows, kernels::TensorRef logits) override {
    ++forwards;
    rows += static_cast<int64_t>(batch.tokens.size());
    row_hash_.clear();
    for (const kernels::Segment& s : batch.segments) {
      FULMEN_CHECK(s.row0 == static_cast<int64_t>(row_hash_.size()) && s.rows > 0,
                   "fake: segments do not tile the rows");
      for (int32_t i = 0; i < s.rows; ++i) append(s.slot, s.pos0 + i, token_of(batch, row_hash_.size()));
      most_rows_of_a_prompt = std::max<int64_t>(most_rows_of_a_prompt, s.rows);
    }
    FULMEN_CHECK(row_hash_.size() == batch.tokens.size(), "fake: segments do not cover the rows");
    for (size_t i = 0; i < logit_rows.size(); ++i) {
      uint64_t x = row_hash_[static_cast<size_t>(logit_rows[i])];
      for (int64_t v = 0; v < vocab_; ++v) {
        x = mix(x + 1);
        logits.row(static_cast<int64_t>(i))[v] = sharpness_ * static_cast<float>(x >> 40) * 0x1p-24f;
      }
    }
  }

  void copy_slot(int32_t from, int32_t to, int32_t position) override {
    FULMEN_CHECK(slot(from).position == position, "fake: copied slot is at another position");
    slot(to).hash = slot(from).hash;
    slot(to).position = position;
    ++slots_copied;
  }
  void copy_page(int32_t from, int32_t to) override { pages_.at(at(to)) = pages_.at(at(from)); }
  void set_page(int32_t s, int64_t nth, int32_t page) override { slot(s).table.at(static_cast<size_t>(nth)) = page; }

  int64_t forwards = 0, rows = 0, slots_copied = 0, most_rows_of_a_prompt = 0;
  int weights_set = 0;

 private:
  static size_t at(int32_t i) { return static_cast<size_t>(i); }
  static int32_t token_of(const model::Batch& batch, size_t row) {
    const int32_t t = batch.tokens[row];
    return t >= 0 ? t : batch.sampled[static_cast<size_t>(-1 - t)];
  }
  static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  }
  struct Slot {
    uint64_t hash = 0;
    int32_t position = 0;
    std::vector<int32_t> table;
  };
  Slot& slot(int32_t s) { return slots_.at(at(s)); }

  void append(int32_t slot_idx, int32_t pos, int32_t token) {
    Slot& s = slot(slot_idx);
    if (pos == 0) s.hash = 0, s.position = 0;
    FULMEN_CHECK(s.position == pos, fmt::format("fake: slot {} is at {}, segment says {}", slot_idx, s.position, pos));
    pages_.at(at(s.table.at(static_cast<size_t>(pos / kPageTokens)))).at(static_cast<size_t>(pos % kPageTokens)) =
        token;
    s.hash = mix(s.hash + static_cast<uint64_t>(token) + 1);
    s.position = pos + 1;
    uint64_t again = 0;
    for (int32_t p = 0; p <= pos; ++p) {
      const auto& page = pages_.at(at(s.table.at(static_cast<size_t>(p / kPageTokens))));
      again = mix(again + static_cast<uint64_t>(page.at(static_cast<size_t>(p % kPageTokens))) + 1);
    }
    FULMEN_CHECK(again == s.hash, fmt::format("fake: pages of slot {} do not hold its tokens up to {}", slot_idx, pos));
    row_hash_.push_back(s.hash);
  }

  std::vector<Slot> slots_;
  std::vector<std::array<int32_t, kPageTokens>> pages_;
  int64_t vocab_;
  float sharpness_;
  std::vector<uint64_t> row_hash_;
};

}  // namespace fulmen::rollout
