#pragma once
#include <bit>

#include "tests/kernels/properties.h"

namespace fulmen::kernels {

// Normal numbers that are bf16, in fp32 and in bf16 (at a multiple of 64 bytes).
class Values {
 public:
  Values(int64_t n, uint32_t seed) : fp32(normal_bf16(n, seed)), storage_(fp32.size() + 32) {
    for (size_t i = 0; i < fp32.size(); ++i) bf16()[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(fp32[i]) >> 16);
  }
  uint16_t* bf16() { return storage_.data() + (64 - reinterpret_cast<uintptr_t>(storage_.data()) % 64) % 64 / 2; }

  Floats fp32;

 private:
  std::vector<uint16_t> storage_;
};

}  // namespace fulmen::kernels
