#pragma once
// Cosines and sines of RoPE (kernels/pointwise.h), defined once for the kernel and for tables of them: angle = position
// * theta^(-2i/rotary), angle, cosine and sine in fp64, then cast.
//
// Internal linkage throughout: this is compiled into code for several instruction sets (kernels/cpu/simd.h).

#include <cmath>
#include <cstdint>

namespace fulmen::kernels {
namespace {

[[maybe_unused]] void rope_frequencies(double theta, int rotary, double* frequency) {  // rotary / 2 of them
  for (int i = 0; i < rotary / 2; ++i) frequency[i] = std::pow(theta, -2.0 * i / rotary);
}

[[maybe_unused]] void rope_angles_of(int64_t position, const double* frequency, int pairs, float* cosines,
                                     float* sines) {
  for (int i = 0; i < pairs; ++i) {
    const double angle = static_cast<double>(position) * frequency[i];
    cosines[i] = static_cast<float>(std::cos(angle));
    sines[i] = static_cast<float>(std::sin(angle));
  }
}

}  // namespace
}  // namespace fulmen::kernels
