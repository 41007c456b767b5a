#include "kernels/linear.h"

#include <string>

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

// A weight matrix may be stored as bf16; everything else check_shape demands still holds.
void check_weight(const char* op, const char* name, TensorRef w, int64_t rows, int64_t cols) {
  w.dtype = DType::kF32;
  check_shape(op, name, w, {rows, cols});
}

bool is_matrix(const TensorRef& t, int64_t rows, int64_t cols) {
  return t && t.rank == 2 && t.dim[0] == rows && t.dim[1] == cols && t.ld >= cols;
}

void check_not_empty(const char* op, int64_t N, int64_t K) {
  FULMEN_CHECK(N > 0 && K > 0, std::string(op) + ": w is (" + std::to_string(N) + ", " + std::to_string(K) +
                                   "), want no empty dimension");
}

bool fits(const PackedWeight& w, int64_t N, int64_t K) {
  return N > 0 && K > 0 && w.data && w.N == N && w.K == K && reinterpret_cast<uintptr_t>(w.data) % 64 == 0;
}

void check_packed(const char* op, const std::string& name, const PackedWeight& w, int64_t N, int64_t K) {
  const auto shape = [](int64_t n, int64_t k) { return "(" + std::to_string(n) + ", " + std::to_string(k) + ")"; };
  FULMEN_CHECK(N > 0 && K > 0,
               std::string(op) + ": " + name + " is packed " + shape(N, K) + ", want no empty dimension");
  FULMEN_CHECK(w.data, std::string(op) + ": " + name + " is absent, want packed " + shape(N, K));
  FULMEN_CHECK(w.N == N && w.K == K,
               std::string(op) + ": " + name + " is packed " + shape(w.N, w.K) + ", want " + shape(N, K));
  FULMEN_CHECK(reinterpret_cast<uintptr_t>(w.data) % 64 == 0,
               std::string(op) + ": " + name + " is not aligned to 64 bytes");
}

// What the offsets say is checked only where the host can read them: elsewhere dispatch made them on the device.
void check_offsets(const char* op, std::span<const int32_t> offset, size_t experts, int64_t rows, const Context& ctx) {
  const std::string where = std::string(op) + ": offset";
  FULMEN_CHECK(offset.size() == experts + 1, where + " has " + std::to_string(offset.size()) + " entries, want " +
                                                 std::to_string(experts + 1) + " (experts + 1)");
  if (!ctx.table->host_memory) return;
  FULMEN_CHECK(offset.front() == 0, where + "[0] is " + std::to_string(offset.front()) + ", want 0");
  for (size_t e = 0; e < experts; ++e)
    FULMEN_CHECK(offset[e] <= offset[e + 1], where + "[" + std::to_string(e + 1) + "] is " +
                                                 std::to_string(offset[e + 1]) +
                                                 ", want >= " + std::to_string(offset[e]));
  FULMEN_CHECK(offset.back() == rows, where + "[" + std::to_string(experts) + "] is " + std::to_string(offset.back()) +
                                          ", want " + std::to_string(rows) + " (rows of the batch)");
}

std::string indexed(const char* name, size_t e) { return std::string(name) + "[" + std::to_string(e) + "]"; }

bool same_input(const LinearForward& a, const LinearForward& b) {
  return a.x.data == b.x.data && a.x.ld == b.x.ld && a.x.dim[0] == b.x.dim[0] && a.w.dtype == b.w.dtype;
}

bool same_input(const GroupedLinearForward& a, const GroupedLinearForward& b) {
  return a.x.data == b.x.data && a.x.ld == b.x.ld && a.offset.data() == b.offset.data() && a.w.size() == b.w.size() &&
         (a.w.empty() || a.w[0].dtype == b.w[0].dtype);
}

template <class Forward>
void check_together(const char* op, std::span<const Forward> list) {
  FULMEN_CHECK(!list.empty() && list.size() <= kMaxTogether, std::string(op) + ": got " + std::to_string(list.size()) +
                                                                 " products, want 1 to " +
                                                                 std::to_string(kMaxTogether));
  for (const Forward& a : list)
    FULMEN_CHECK(same_input(a, list[0]), std::string(op) + ": got products of different x, offset or weight dtype");
}

// False where there is nothing to do.
bool check_forward(const char* op, const LinearForward& a) {
  const int64_t T = a.x.dim[0];
  if (T == 0) return false;
  check_packed(op, "w", a.w, a.w.N, a.w.K);
  check_shape(op, "x", a.x, {T, a.w.K});
  check_shape(op, "y", a.y, {T, a.w.N});
  return true;
}

bool check_grouped_forward(const char* op, const GroupedLinearForward& a, const Context& ctx) {
  const int64_t R = a.x.dim[0];
  check_offsets(op, a.offset, a.w.size(), R, ctx);
  if (R == 0) return false;
  const int64_t N = a.w.front().N, K = a.w.front().K;
  for (size_t e = 0; e < a.w.size(); ++e)
    if (!fits(a.w[e], N, K)) check_packed(op, indexed("w", e), a.w[e], N, K);
  check_shape(op, "x", a.x, {R, K});
  check_shape(op, "y", a.y, {R, N});
  return true;
}

}  // namespace

size_t packed_bytes(int64_t N, int64_t K, DType dtype) {
  return static_cast<size_t>((N + kPanel - 1) / kPanel * kPanel * K * dtype_bytes(dtype));
}

bool packed_is_rows(const Context& ctx) { return !ctx.table->host_memory; }

void pack_weight(const TensorRef& src, DType dtype, void* dst, Context& ctx) {
  check_shape("pack_weight", "src", src, {src.dim[0], src.dim[1]});
  FULMEN_CHECK(dst && reinterpret_cast<uintptr_t>(dst) % 64 == 0, "pack_weight: dst is absent or not 64-byte aligned");
  if (src.dim[0] == 0 || src.dim[1] == 0) return;
  ctx.table->pack_weight(src, dtype, dst, ctx);
}

void linear_forward(const LinearForward& a, Context& ctx) {
  if (check_forward("linear_forward", a)) ctx.table->linear_forward(a, ctx);
}

void linear_forward_together(std::span<const LinearForward> list, Context& ctx) {
  const char* op = "linear_forward_together";
  check_together(op, list);
  bool some = true;
  for (const LinearForward& a : list) some = check_forward(op, a) && some;
  if (!some) return;
  if (ctx.table->linear_forward_together) return ctx.table->linear_forward_together(list, ctx);
  for (const LinearForward& a : list) ctx.table->linear_forward(a, ctx);
}

void linear_backward(const LinearBackward& a, Context& ctx) {
  const int64_t T = a.dy.dim[0], N = a.dy.dim[1];
  if (T == 0 || (!a.dx && !a.dw)) return;
  check_shape("linear_backward", "dy", a.dy, {T, N});
  const int64_t K = a.dx ? a.dx.dim[1] : a.dw.dim[1];
  check_not_empty("linear_backward", N, K);
  if (a.dx) {
    check_shape("linear_backward", "dx", a.dx, {T, K});
    check_weight("linear_backward", "w", a.w, N, K);
  }
  if (a.dw) {
    check_shape("linear_backward", "dw", a.dw, {N, K});
    check_shape("linear_backward", "x", a.x, {T, K});
  }
  ctx.table->linear_backward(a, ctx);
}

void grouped_linear_forward(const GroupedLinearForward& a, Context& ctx) {
  if (check_grouped_forward("grouped_linear_forward", a, ctx)) ctx.table->grouped_linear_forward(a, ctx);
}

void grouped_linear_forward_together(std::span<const GroupedLinearForward> list, Context& ctx) {
  const char* op = "grouped_linear_forward_together";
  check_together(op, list);
  bool some = true;
  for (const GroupedLinearForward& a : list) some = check_grouped_forward(op, a, ctx) && some;
  if (!some) return;
  if (ctx.table->grouped_linear_forward_together) return ctx.table->grouped_linear_forward_together(list, ctx);
  for (const GroupedLinearForward& a : list) ctx.table->grouped_linear_forward(a, ctx);
}

void grouped_linear_backward(const GroupedLinearBackward& a, Context& ctx) {
  const char* op = "grouped_linear_backward";
  const int64_t R = a.dy.dim[0], N = a.dy.dim[1];
  if (!a.dx && a.dw.empty()) return;
  const size_t E = a.dx ? a.w.size() : a.dw.size();
  check_offsets(op, a.offset, E, R, ctx);
  if (R == 0) return;
  check_shape(op, "dy", a.dy, {R, N});
  const int64_t K = a.dx ? a.dx.dim[1] : a.x.dim[1];
  check_not_empty(op, N, K);
  if (a.dx) {
    check_shape(op, "dx", a.dx, {R, K});
    for (size_t e = 0; e < E; ++e)
      if (!is_matrix(a.w[e], N, K)) check_weight(op, indexed("w", e).c_str(), a.w[e], N, K);
  }
  if (!a.dw.empty()) {
    FULMEN_CHECK(a.dw.size() == E,
                 std::string(op) + ": dw has " + std::to_string(a.dw.size()) + " experts, want " + std::to_string(E));
    check_shape(op, "x", a.x, {R, K});
    for (size_t e = 0; e < E; ++e)
      if (!is_matrix(a.dw[e], N, K) || a.dw[e].dtype != DType::kF32)
        check_shape(op, indexed("dw", e).c_str(), a.dw[e], {N, K});
  }
  ctx.table->grouped_linear_backward(a, ctx);
}

}  // namespace fulmen::kernels
