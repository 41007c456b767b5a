#pragma once
// Linear layers, twice: the scalar fmaf chain that the kernels must equal bit for bit (the specification), and double
// precision against which the specification itself is judged. Shares no code with kernels/.
// Matrices are dense and row-major: x (T, K), w (N, K), y and dy (T, N).

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace fulmen::reference {

inline std::vector<float> linear_chain(const std::vector<float>& x, const std::vector<float>& w, int64_t T, int64_t N,
                                       int64_t K) {
  std::vector<float> y(static_cast<size_t>(T * N));
  for (int64_t t = 0; t < T; ++t)
    for (int64_t n = 0; n < N; ++n) {
      float s = 0.0f;
      for (int64_t k = 0; k < K; ++k) s = std::fmaf(x[t * K + k], w[n * K + k], s);
      y[t * N + n] = s;
    }
  return y;
}

// Chains start at the values already in dx and dw.
inline void linear_chain_dx(const std::vector<float>& dy, const std::vector<float>& w, int64_t T, int64_t N, int64_t K,
                            std::vector<float>& dx) {
  for (int64_t t = 0; t < T; ++t)
    for (int64_t k = 0; k < K; ++k)
      for (int64_t n = 0; n < N; ++n) dx[t * K + k] = std::fmaf(dy[t * N + n], w[n * K + k], dx[t * K + k]);
}

inline void linear_chain_dw(const std::vector<float>& dy, const std::vector<float>& x, int64_t T, int64_t N, int64_t K,
                            std::vector<float>& dw) {
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k)
      for (int64_t t = 0; t < T; ++t) dw[n * K + k] = std::fmaf(dy[t * N + n], x[t * K + k], dw[n * K + k]);
}

// out (R, C) = a (R, J) b (J, C) in double, where element (i, j) of a is a[i * a_row + j * a_col], likewise b.
inline std::vector<double> product(const float* a, int64_t a_row, int64_t a_col, const float* b, int64_t b_row,
                                   int64_t b_col, int64_t R, int64_t J, int64_t C) {
  std::vector<double> out(static_cast<size_t>(R * C));
  for (int64_t r = 0; r < R; ++r)
    for (int64_t c = 0; c < C; ++c)
      for (int64_t j = 0; j < J; ++j)
        out[r * C + c] += static_cast<double>(a[r * a_row + j * a_col]) * static_cast<double>(b[j * b_row + c * b_col]);
  return out;
}

// Nearest bf16, ties to even, by comparing the two neighbours in double.
inline uint16_t nearest_bf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  const auto widen = [](uint32_t top) {
    const uint32_t u = top << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
  };
  const uint32_t toward_zero = bits >> 16, away = toward_zero + 1;
  const double below = std::fabs(static_cast<double>(v) - widen(toward_zero));
  const double above = std::fabs(static_cast<double>(v) - widen(away));
  if (below != above) return static_cast<uint16_t>(below < above ? toward_zero : away);
  return static_cast<uint16_t>(toward_zero % 2 == 0 ? toward_zero : away);
}

inline float bf16_value(uint16_t h) {
  const uint32_t u = static_cast<uint32_t>(h) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

}  // namespace fulmen::reference
