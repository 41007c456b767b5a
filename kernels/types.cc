#include "kernels/types.h"

namespace fulmen::kernels {

std::string shape_string(const TensorRef& t) {
  if (!t) return "absent";
  std::string s = "(" + std::to_string(t.dim[0]);
  if (t.rank == 2) s += ", " + std::to_string(t.dim[1]);
  return s + ")";
}

void check_shape(const char* op, const char* name, const TensorRef& t, std::initializer_list<int64_t> want) {
  TensorRef w{&w, DType::kF32, static_cast<int>(want.size()), {*want.begin(), 1}, 0};
  if (want.size() == 2) w.dim[1] = *(want.begin() + 1);
  const bool same = t && t.rank == w.rank && t.dim[0] == w.dim[0] && (t.rank == 1 || t.dim[1] == w.dim[1]);
  if (!same) throw Error(std::string(op) + ": " + name + " is " + shape_string(t) + ", want " + shape_string(w));
  if (t.dtype != DType::kF32) throw Error(std::string(op) + ": " + name + " is bf16, want f32");
  if (t.rank == 2 && t.ld < t.dim[1])
    throw Error(std::string(op) + ": " + name + " has row stride " + std::to_string(t.ld) + ", want >= " +
                std::to_string(t.dim[1]));
}

}  // namespace fulmen::kernels
