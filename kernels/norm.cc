#include "kernels/norm.h"

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

// False on an empty batch. Throws unless x is (T, C) with C > 0 and w is (C).
bool check_input(const char* op, const TensorRef& x, const TensorRef& w) {
  if (x.rank == 2 && x.dim[0] == 0) return false;
  check_shape(op, "x", x, {x.dim[0], x.dim[1]});
  FULMEN_CHECK(x.dim[1] > 0, std::string(op) + ": x is " + shape_string(x) + ", want at least one column");
  check_shape(op, "w", w, {x.dim[1]});
  return true;
}

void check_like(const char* op, const char* name, const TensorRef& t, const TensorRef& x) {
  check_shape(op, name, t, {x.dim[0], x.dim[1]});
}

}  // namespace

void rmsnorm_forward(const RmsNormForward& a, Context& ctx) {
  if (!check_input("rmsnorm_forward", a.x, a.w)) return;
  check_like("rmsnorm_forward", "y", a.y, a.x);
  ctx.table->rmsnorm_forward(a, ctx);
}

void rmsnorm_backward(const RmsNormBackward& a, Context& ctx) {
  const char* op = "rmsnorm_backward";
  if (!check_input(op, a.x, a.w)) return;
  check_like(op, "dy", a.dy, a.x);
  check_like(op, "dx", a.dx, a.x);
  check_shape(op, "dw", a.dw, {a.x.dim[1]});
  ctx.table->rmsnorm_backward(a, ctx);
}

void gated_rmsnorm_forward(const GatedRmsNormForward& a, Context& ctx) {
  const char* op = "gated_rmsnorm_forward";
  if (!check_input(op, a.x, a.w)) return;
  check_like(op, "g", a.g, a.x);
  check_like(op, "y", a.y, a.x);
  ctx.table->gated_rmsnorm_forward(a, ctx);
}

void gated_rmsnorm_backward(const GatedRmsNormBackward& a, Context& ctx) {
  const char* op = "gated_rmsnorm_backward";
  if (!check_input(op, a.x, a.w)) return;
  check_like(op, "dy", a.dy, a.x);
  check_like(op, "g", a.g, a.x);
  check_like(op, "dx", a.dx, a.x);
  check_like(op, "dg", a.dg, a.x);
  check_shape(op, "dw", a.dw, {a.x.dim[1]});
  ctx.table->gated_rmsnorm_backward(a, ctx);
}

}  // namespace fulmen::kernels
