#include "kernels/lm_head.h"

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

// What forward and backward have in common. False on an empty batch.
bool check_rows(const char* op, const TensorRef& h, const PackedWeight& w, std::span<const int32_t> target,
                float inv_temperature) {
  if (h.rank == 2 && h.dim[0] == 0) return false;
  FULMEN_CHECK(w.data && w.N > 0 && w.K > 0, std::string(op) + ": w is absent or empty, want a packed (V, C)");
  check_shape(op, "h", h, {h.dim[0], w.K});
  FULMEN_CHECK(
      static_cast<int64_t>(target.size()) == h.dim[0],
      std::string(op) + ": target has " + std::to_string(target.size()) + " entries, want " + std::to_string(h.dim[0]));
  for (size_t t = 0; t < target.size(); ++t)
    FULMEN_CHECK(target[t] >= -1 && target[t] < w.N,
                 std::string(op) + ": target of row " + std::to_string(t) + " is " + std::to_string(target[t]) +
                     ", want -1.." + std::to_string(w.N - 1) + " (V is " + std::to_string(w.N) + ")");
  FULMEN_CHECK(inv_temperature > 0,
               std::string(op) + ": inv_temperature is " + std::to_string(inv_temperature) + ", want > 0");
  return true;
}

}  // namespace

void lm_head_forward(const LmHeadForward& a, Context& ctx) {
  const char* op = "lm_head_forward";
  if (!check_rows(op, a.h, a.w, a.target, a.inv_temperature)) return;
  const int64_t T = a.h.dim[0];
  check_shape(op, "logprob", a.logprob, {T});
  if (a.entropy) check_shape(op, "entropy", a.entropy, {T});
  check_shape(op, "lse", a.lse, {T, 2});
  ctx.table->lm_head_forward(a, ctx);
}

void lm_head_backward(const LmHeadBackward& a, Context& ctx) {
  const char* op = "lm_head_backward";
  if (!check_rows(op, a.h, a.w, a.target, a.inv_temperature)) return;
  const int64_t T = a.h.dim[0];
  TensorRef w_rows = a.w_rows;
  w_rows.dtype = DType::kF32;  // either dtype will do; the rest must hold
  check_shape(op, "w_rows", w_rows, {a.w.N, a.w.K});
  check_shape(op, "lse", a.lse, {T, 2});
  check_shape(op, "dlogprob", a.dlogprob, {T});
  if (a.dentropy) {
    check_shape(op, "dentropy", a.dentropy, {T});
    check_shape(op, "entropy", a.entropy, {T});
  }
  check_shape(op, "dh", a.dh, {T, a.w.K});
  if (a.dw) check_shape(op, "dw", a.dw, {a.w.N, a.w.K});
  ctx.table->lm_head_backward(a, ctx);
}

}  // namespace fulmen::kernels
