#pragma once
// The vocabulary of every kernel: what a tensor holds and its shape. Nothing here owns memory.
//
// Dimension letters, everywhere in this repository:
//   B sequences  T tokens (rows of a packed or ragged batch)  C model width  H heads  D head width
//   E experts    F expert width   V vocabulary   L layers     N, K output and input width of a linear layer

#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels/error.h"

namespace fulmen::kernels {

enum class DType : uint8_t { kF32, kBf16 };

inline constexpr int64_t dtype_bytes(DType t) { return t == DType::kF32 ? 4 : 2; }

// Row-major view, not owned. Rank 1 or 2; row r of a rank-2 tensor starts at data + r * ld elements. Null data = absent.
struct TensorRef {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  int64_t dim[2] = {0, 0};
  int64_t ld = 0;  // elements from row to row; >= dim[1]

  explicit operator bool() const { return data != nullptr; }
  float* f32() const { return static_cast<float*>(data); }
  float* row(int64_t r) const { return static_cast<float*>(data) + r * ld; }
};

inline TensorRef vec(const float* p, int64_t n) { return {const_cast<float*>(p), DType::kF32, 1, {n, 1}, 1}; }
inline TensorRef mat(const float* p, int64_t rows, int64_t cols, int64_t ld = 0) {
  return {const_cast<float*>(p), DType::kF32, 2, {rows, cols}, ld ? ld : cols};
}

std::string shape_string(const TensorRef& t);  // "(2, 3)", "(3)", "absent"

// Throws "op: name is (2, 3), want (2, 4)" (or names the dtype) unless `t` is present, f32 and of that shape.
void check_shape(const char* op, const char* name, const TensorRef& t, std::initializer_list<int64_t> want);

// A run of rows of a ragged batch that belong to one sequence, at positions pos0, pos0+1, ... of that sequence.
// Learner: whole sequences, pos0 = 0, slot = -1 (no cache). Rollout: prefill pieces and single decode rows, slot = the
// sequence's cache slot. Segments are disjoint, in ascending row0, and cover all rows of the batch.
struct Segment {
  int64_t row0 = 0;
  int32_t rows = 0;
  int32_t pos0 = 0;
  int32_t slot = -1;
};

}  // namespace fulmen::kernels
