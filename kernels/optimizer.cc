#include "kernels/optimizer.h"

#include <string>

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

bool is_flat(const TensorRef& t, int64_t n) { return t && t.rank == 1 && t.dim[0] == n && t.dtype == DType::kF32; }

void check_flat(const char* op, size_t i, const char* name, const TensorRef& t, int64_t n) {
  if (n == 0 || is_flat(t, n)) return;
  check_shape((std::string(op) + ": tensor " + std::to_string(i)).c_str(), name, t, {n});
}

void check_adamw(size_t i, const AdamW& a) {
  const auto want = [i](bool ok, const char* name, double got, const char* range) {
    FULMEN_CHECK(
        ok, "adamw_step: tensor " + std::to_string(i) + ": " + name + " is " + std::to_string(got) + ", want " + range);
  };
  FULMEN_CHECK(a.param.rank == 1,
               "adamw_step: tensor " + std::to_string(i) + ": param is " + shape_string(a.param) + ", want rank 1");
  const int64_t n = a.param.dim[0];
  check_flat("adamw_step", i, "param", a.param, n);
  check_flat("adamw_step", i, "grad", a.grad, n);
  check_flat("adamw_step", i, "m", a.m, n);
  check_flat("adamw_step", i, "v", a.v, n);
  want(a.step >= 1, "step", static_cast<double>(a.step), "at least 1");
  want(a.beta1 >= 0 && a.beta1 < 1, "beta1", a.beta1, "in [0, 1)");
  want(a.beta2 >= 0 && a.beta2 < 1, "beta2", a.beta2, "in [0, 1)");
}

}  // namespace

double global_sum_of_squares(std::span<const TensorRef> grads, Context& ctx) {
  for (size_t i = 0; i < grads.size(); ++i) {
    FULMEN_CHECK(grads[i].rank == 1, "global_sum_of_squares: tensor " + std::to_string(i) + " is " +
                                         shape_string(grads[i]) + ", want rank 1");
    check_flat("global_sum_of_squares", i, "grad", grads[i], grads[i].dim[0]);
  }
  return grads.empty() ? 0.0 : ctx.table->global_sum_of_squares(grads, ctx);
}

void adamw_step(std::span<const AdamW> tensors, Context& ctx) {
  for (size_t i = 0; i < tensors.size(); ++i) check_adamw(i, tensors[i]);
  if (!tensors.empty()) ctx.table->adamw_step(tensors, ctx);
}

}  // namespace fulmen::kernels
