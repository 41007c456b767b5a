#pragma once
// Causal softmax attention with grouped KV heads (GQA): q head h reads kv head h / (H / KV). Scale 1/sqrt(D) is applied
// to q.
//
// Fixed KV order: keys of a sequence are cut by absolute position into tiles of kAttentionTile = 64 and splits of
// kAttentionSplit = 1024. Inside a split: online softmax tile by tile, starting fresh; splits are merged in order. Any
// number of workers, any prefill split and the learner's packed forward give the same bits. Key 0..pos inclusive.

#include <span>

#include "kernels/context.h"

namespace fulmen::kernels {

inline constexpr int kAttentionTile = 64;  // also the page size of the rollout cache
inline constexpr int kAttentionSplit = 1024;

// Rollout cache of one layer: pages of 64 tokens, views owned by the role.
struct PagedKvCache {
  void* k = nullptr;  // (pages, KV, 64/16, D, 16)  panels of 16 tokens, dtype kv
  void* v = nullptr;  // (pages, KV, 64, D)
  DType kv = DType::kF32;
  const int32_t* page_table =
      nullptr;            // (slots, max_pages): page of token t of slot s = page_table[s*max_pages + t/64]. Host
  int64_t max_pages = 0;  // shared by all layers; every page up to the segment's last token is assigned
  const int32_t* device_page_table = nullptr;  // the same in device memory; not used where that is the host's
};

struct AttentionForward {
  TensorRef q{};    // (T, H*D) after RoPE
  TensorRef k{};    // (T, KV*D) after RoPE (and rounded to the cache dtype where that is bf16)
  TensorRef v{};    // (T, KV*D)
  TensorRef o{};    // (T, H*D), written
  TensorRef lse{};  // (T, H) log-sum-exp of the scaled scores, written; optional, the learner saves it for backward
  int H = 0, KV = 0, D = 0;  // D a multiple of 16, <= 256
  std::span<const Segment> segments{};
  const PagedKvCache* cache = nullptr;  // null: learner (whole sequences, pos0 = 0). Else k, v are appended first.
  DType kv = DType::kF32;               // that k, v are rounded to; with a cache, its kv counts (as in lightning.h)
};
void attention_forward(const AttentionForward& a, Context& ctx);

// Gradient of the learner's forward. Deterministic: no order depends on threads.
struct AttentionBackward {
  TensorRef q{}, k{}, v{}, o{};  // as in forward
  TensorRef lse{};               // (T, H)
  TensorRef d_o{};               // (T, H*D)
  TensorRef dq{}, dk{}, dv{};    // written
  int H = 0, KV = 0, D = 0;
  std::span<const Segment> segments{};
  DType kv = DType::kF32;  // as in forward
};
void attention_backward(const AttentionBackward& a, Context& ctx);

}  // namespace fulmen::kernels
