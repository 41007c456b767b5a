#pragma once
// Mixture of experts around the expert products (m1_spec 3.4). Dropless. Everything fp32.
//
// router:   p = softmax over all E logits; the top_k by a total order (larger logit first, ties to the lower expert
// id), in
//           that slot order; weight = exp(x_e - x_max) / sum over the selected, in slot order (= renormalised softmax).
// dispatch: stable counting sort of the T*top_k (token, slot) pairs by expert; ties keep token order. Row r of the
// sorted
//           order comes from pair index order[r] = t*top_k + slot.
// combine:  y[t] = chain over slots fma(w_slot, f_slot, .) in slot order, starting with w_0 * f_0.

#include <span>

#include "kernels/context.h"

namespace fulmen::kernels {

inline constexpr int64_t kMaxExperts = 1024;

struct RouteForward {
  TensorRef logits;  // (T, E)
  int top_k = 2;
  std::span<int32_t> expert;  // (T*top_k), written
  TensorRef weight;           // (T, top_k), written
};
void route_forward(const RouteForward& a, Context& ctx);
struct RouteBackward {
  TensorRef weight;   // (T, top_k) from forward
  TensorRef dweight;  // (T, top_k)
  std::span<const int32_t> expert;
  int top_k = 2;
  TensorRef dlogits;  // (T, E), written (zero where not selected)
};
void route_backward(const RouteBackward& a, Context& ctx);

struct Dispatch {                   // expert, order and offset are device memory here and below
  std::span<const int32_t> expert;  // (T*top_k)
  int E = 0;
  std::span<int32_t> order;   // (T*top_k), written
  std::span<int32_t> offset;  // (E+1), written
};
void dispatch(const Dispatch& a, Context& ctx);

struct GatherRows {  // y[r] = x[order[r] / top_k]
  TensorRef x;       // (T, C)
  std::span<const int32_t> order;
  int top_k = 2;
  TensorRef y;  // (T*top_k, C)
};
void gather_rows(const GatherRows& a, Context& ctx);
struct GatherRowsBackward {  // dx[t] = sum over slots in slot order of dy[position of (t, slot)]
  TensorRef dy;              // (T*top_k, C) sorted order
  std::span<const int32_t> order;
  int top_k = 2;
  TensorRef dx;  // (T, C), written
};
void gather_rows_backward(const GatherRowsBackward& a, Context& ctx);

struct CombineForward {
  TensorRef f;  // (T*top_k, C) expert outputs in sorted order
  std::span<const int32_t> order;
  TensorRef weight;  // (T, top_k)
  TensorRef y;       // (T, C), written
};
void combine_forward(const CombineForward& a, Context& ctx);
struct CombineBackward {
  TensorRef dy;  // (T, C)
  TensorRef f;   // (T*top_k, C) sorted
  std::span<const int32_t> order;
  TensorRef weight;   // (T, top_k)
  TensorRef df;       // (T*top_k, C), written
  TensorRef dweight;  // (T, top_k), written: <dy[t], f[slot]> by row_sum
};
void combine_backward(const CombineBackward& a, Context& ctx);

}  // namespace fulmen::kernels
