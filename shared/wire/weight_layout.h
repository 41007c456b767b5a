#pragma once
// How a manifest says bytes, shared by the two sides of weight_sync.h.

#include <fmt/core.h>

#include <cstring>

#include "shared/base/file.h"
#include "shared/wire/weight_sync.h"

namespace fulmen::wire {

inline uint64_t align_up(uint64_t n) { return (n + kTensorAlign - 1) / kTensorAlign * kTensorAlign; }

// Bytes that shape and dtype ask for; false for an unknown dtype, a negative dimension or an overflow.
template <class Shape>
bool shape_bytes(const Shape& shape, uint32_t dtype, uint64_t& bytes) {
  if (dtype > 1) return false;
  bytes = dtype == 0 ? 4 : 2;
  for (int64_t d : shape) {
    if (d < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(d), &bytes)) return false;
  }
  return true;
}

// Where a tensor begins behind an image that ends at `end`, which moves behind it; false when no memory is so long.
inline bool append_tensor(uint64_t bytes, uint64_t& begin, uint64_t& end) {
  constexpr uint64_t kLongest = UINT64_MAX / 4;
  begin = align_up(end);
  if (begin > kLongest || bytes > kLongest - begin) return false;
  end = begin + bytes;
  return true;
}

inline std::string to_bytes(const base::Digest& d) { return {reinterpret_cast<const char*>(d.data()), d.size()}; }

inline std::string hex_of(const std::string& bytes) {
  base::Digest d{};
  if (bytes.size() != d.size()) return fmt::format("a digest of {} bytes", bytes.size());
  memcpy(d.data(), bytes.data(), d.size());
  return base::hex(d);
}

}  // namespace fulmen::wire
