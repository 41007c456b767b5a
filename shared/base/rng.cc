#include "shared/base/rng.h"

#include <cmath>
#include <numbers>

#include "kernels/error.h"

namespace fulmen::base {
namespace {

constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;

uint32_t low_word(uint64_t x) { return static_cast<uint32_t>(x); }
uint32_t high_word(uint64_t x) { return static_cast<uint32_t>(x >> 32); }

// 256 bits of names into 128 bits of key material: for one seed the map (purpose, a, b) -> result is one to one.
std::array<uint32_t, 4> derive(uint64_t seed, Purpose purpose, uint64_t a, uint32_t b) {
  return philox({low_word(a), high_word(a), b, static_cast<uint32_t>(purpose)}, {low_word(seed), high_word(seed)});
}

double to_unit_interval(uint32_t low, uint32_t high) {
  const uint64_t bits = (static_cast<uint64_t>(high) << 32 | low) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kMultiplier0) * counter[0];
    const uint64_t product1 = static_cast<uint64_t>(kMultiplier1) * counter[2];
    counter = {high_word(product1) ^ counter[1] ^ key[0], low_word(product1), high_word(product0) ^ counter[3] ^ key[1],
               low_word(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

double uniform(uint64_t seed, Purpose purpose, uint64_t a, uint32_t b, uint64_t c) {
  const auto d = derive(seed, purpose, a, b);
  const auto block = philox({low_word(c), high_word(c), d[2], d[3]}, {d[0], d[1]});
  return to_unit_interval(block[0], block[1]);
}

Stream::Stream(uint64_t seed, Purpose purpose, uint64_t a, uint32_t b) {
  const auto d = derive(seed, purpose, a, b);
  key_ = {d[0], d[1]};
  counter_ = {0, 0, d[2], d[3]};
}

uint32_t Stream::next_u32() {
  if (used_ == 4) {
    block_ = philox(counter_, key_);
    if (++counter_[0] == 0) ++counter_[1];
    used_ = 0;
  }
  return block_[static_cast<size_t>(used_++)];
}

double Stream::next_uniform() {
  const uint32_t low = next_u32();
  return to_unit_interval(low, next_u32());
}

int64_t Stream::next_int(int64_t low, int64_t high) {
  FULMEN_CHECK(low <= high, "Stream::next_int: got low " + std::to_string(low) + " above high " + std::to_string(high));
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;  // 0 means all 2^64
  const uint64_t first_fair = range == 0 ? 0 : (0 - range) % range;  // below it a remainder would come once too often
  for (;;) {
    const uint64_t low_half = next_u32();
    const uint64_t draw = static_cast<uint64_t>(next_u32()) << 32 | low_half;
    if (draw < first_fair) continue;
    return static_cast<int64_t>(static_cast<uint64_t>(low) + (range == 0 ? draw : draw % range));
  }
}

float Stream::next_normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - next_uniform()));  // 1 - u is never 0
  return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * next_uniform()));
}

}  // namespace fulmen::base
