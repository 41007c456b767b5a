#include "kernels/router.h"

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

void check_length(const char* op, const char* name, size_t got, int64_t want) {
  FULMEN_CHECK(static_cast<int64_t>(got) == want, std::string(op) + ": " + name + " has " + std::to_string(got) +
                                                      " entries, want " + std::to_string(want));
}

void check_top_k(const char* op, int top_k, int64_t E) {
  FULMEN_CHECK(top_k >= 1 && top_k <= E && E <= kMaxExperts,
               std::string(op) + ": top_k is " + std::to_string(top_k) + " of " + std::to_string(E) +
                   " experts, want 1..E and E <= " + std::to_string(kMaxExperts));
}

// Every entry in [0, bound): what indexes memory is not believed. Only where the host can read it: elsewhere it was made
// by our own kernels.
void check_range(const char* op, const char* name, std::span<const int32_t> v, int64_t bound, const Context& ctx) {
  if (!ctx.table->host_memory) return;
  for (size_t i = 0; i < v.size(); ++i)
    FULMEN_CHECK(v[i] >= 0 && v[i] < bound, std::string(op) + ": " + name + "[" + std::to_string(i) + "] is " +
                                                std::to_string(v[i]) + ", want 0.." + std::to_string(bound - 1));
}

void check_order(const char* op, std::span<const int32_t> order, int64_t pairs, const Context& ctx) {
  check_length(op, "order", order.size(), pairs);
  check_range(op, "order", order, pairs, ctx);
}

bool empty(const TensorRef& x) { return x.rank == 2 && (x.dim[0] == 0 || x.dim[1] == 0); }

}  // namespace

void route_forward(const RouteForward& a, Context& ctx) {
  const char* op = "route_forward";
  if (empty(a.logits)) return;
  const int64_t T = a.logits.dim[0], E = a.logits.dim[1];
  check_shape(op, "logits", a.logits, {T, E});
  check_top_k(op, a.top_k, E);
  check_length(op, "expert", a.expert.size(), T * a.top_k);
  check_shape(op, "weight", a.weight, {T, a.top_k});
  ctx.table->route_forward(a, ctx);
}

void route_backward(const RouteBackward& a, Context& ctx) {
  const char* op = "route_backward";
  if (empty(a.dlogits)) return;
  const int64_t T = a.dlogits.dim[0], E = a.dlogits.dim[1];
  check_shape(op, "dlogits", a.dlogits, {T, E});
  check_top_k(op, a.top_k, E);
  check_shape(op, "weight", a.weight, {T, a.top_k});
  check_shape(op, "dweight", a.dweight, {T, a.top_k});
  check_length(op, "expert", a.expert.size(), T * a.top_k);
  check_range(op, "expert", a.expert, E, ctx);
  ctx.table->route_backward(a, ctx);
}

void dispatch(const Dispatch& a, Context& ctx) {
  check_length("dispatch", "order", a.order.size(), static_cast<int64_t>(a.expert.size()));
  FULMEN_CHECK(a.E > 0, "dispatch: E is " + std::to_string(a.E) + ", want at least 1");
  check_length("dispatch", "offset", a.offset.size(), int64_t{a.E} + 1);
  check_range("dispatch", "expert", a.expert, a.E, ctx);
  ctx.table->dispatch(a, ctx);
}

void gather_rows(const GatherRows& a, Context& ctx) {
  const char* op = "gather_rows";
  if (empty(a.x)) return;
  const int64_t T = a.x.dim[0], C = a.x.dim[1];
  check_shape(op, "x", a.x, {T, C});
  FULMEN_CHECK(a.top_k >= 1, "gather_rows: top_k is " + std::to_string(a.top_k) + ", want at least 1");
  check_order(op, a.order, T * a.top_k, ctx);
  check_shape(op, "y", a.y, {T * a.top_k, C});
  ctx.table->gather_rows(a, ctx);
}

void gather_rows_backward(const GatherRowsBackward& a, Context& ctx) {
  const char* op = "gather_rows_backward";
  if (empty(a.dx)) return;
  const int64_t T = a.dx.dim[0], C = a.dx.dim[1];
  check_shape(op, "dx", a.dx, {T, C});
  FULMEN_CHECK(a.top_k >= 1, "gather_rows_backward: top_k is " + std::to_string(a.top_k) + ", want at least 1");
  check_order(op, a.order, T * a.top_k, ctx);
  check_shape(op, "dy", a.dy, {T * a.top_k, C});
  ctx.table->gather_rows_backward(a, ctx);
}

void combine_forward(const CombineForward& a, Context& ctx) {
  const char* op = "combine_forward";
  if (empty(a.y)) return;
  const int64_t T = a.y.dim[0], C = a.y.dim[1], top_k = a.weight.dim[1];
  check_shape(op, "y", a.y, {T, C});
  check_shape(op, "weight", a.weight, {T, top_k});
  check_order(op, a.order, T * top_k, ctx);
  check_shape(op, "f", a.f, {T * top_k, C});
  ctx.table->combine_forward(a, ctx);
}

void combine_backward(const CombineBackward& a, Context& ctx) {
  const char* op = "combine_backward";
  if (empty(a.dy)) return;
  const int64_t T = a.dy.dim[0], C = a.dy.dim[1], top_k = a.weight.dim[1];
  check_shape(op, "dy", a.dy, {T, C});
  check_shape(op, "weight", a.weight, {T, top_k});
  check_order(op, a.order, T * top_k, ctx);
  check_shape(op, "f", a.f, {T * top_k, C});
  check_shape(op, "df", a.df, {T * top_k, C});
  check_shape(op, "dweight", a.dweight, {T, top_k});
  ctx.table->combine_backward(a, ctx);
}

}  // namespace fulmen::kernels
