#include "kernels/lightning.h"

#include <bit>
#include <cmath>

#include "kernels/segment_check.h"
#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

void check_head(const char* op, int H, int D, const float* pw) {
  FULMEN_CHECK(H >= 1, std::string(op) + ": H is " + std::to_string(H) + ", want at least 1");
  FULMEN_CHECK(D >= 16 && D <= 256 && D % 16 == 0,
               std::string(op) + ": D is " + std::to_string(D) + ", want a multiple of 16 up to 256");
  FULMEN_CHECK(pw, std::string(op) + ": pw (decay table) is absent");
}

}  // namespace

// ALiBi: powers of 2^(-8/H) for a power of two; otherwise those of the next lower one P, then every second of 2P's.
void lightning_slopes(int H, int layer, int L, float* slope) {
  FULMEN_CHECK(H >= 1, "lightning_slopes: H is " + std::to_string(H) + ", want at least 1");
  const double factor = L <= 1 ? 1.0 + 1e-5 : 1.0 - (double)layer / (L - 1) + 1e-5;
  const int P = (int)std::bit_floor((unsigned)H);
  for (int h = 0; h < H; ++h) {
    const double exponent = h < P ? 8.0 * (h + 1) / P : 8.0 * (2 * (h - P) + 1) / (2 * P);
    slope[h] = (float)(std::exp2(-exponent) * factor);
  }
}

void lightning_decay_table(const float* slope, int H, float* pw) {
  for (int h = 0; h < H; ++h)
    for (int m = 0; m <= kLightningBlock; ++m)
      pw[h * (kLightningBlock + 1) + m] = (float)std::exp(-(double)slope[h] * m);
}

void lightning_forward(const LightningForward& a, Context& ctx) {
  const char* op = "lightning_forward";
  const int64_t T = a.qkv.dim[0];
  if (T == 0 && a.segments.empty()) return;
  check_head(op, a.H, a.D, a.pw);
  check_shape(op, "qkv", a.qkv, {T, (int64_t)a.H * 3 * a.D});
  check_shape(op, "o", a.o, {T, (int64_t)a.H * a.D});
  check_segments(op, a.segments, T, a.cache != nullptr, a.cache ? a.cache->slots : 0);
  if (a.cache)
    FULMEN_CHECK(a.cache->state && a.cache->k && a.cache->v, std::string(op) + ": cache lacks state, k or v");
  ctx.table->lightning_forward(a, ctx);
}

void lightning_backward(const LightningBackward& a, Context& ctx) {
  const char* op = "lightning_backward";
  const int64_t T = a.qkv.dim[0];
  if (T == 0 && a.segments.empty()) return;
  check_head(op, a.H, a.D, a.pw);
  check_shape(op, "qkv", a.qkv, {T, (int64_t)a.H * 3 * a.D});
  check_shape(op, "d_o", a.d_o, {T, (int64_t)a.H * a.D});
  check_shape(op, "dqkv", a.dqkv, {T, (int64_t)a.H * 3 * a.D});
  check_segments(op, a.segments, T, false, 0);
  ctx.table->lightning_backward(a, ctx);
}

void lightning_recurrent_step(const LightningRecurrentStep& a, Context& ctx) {
  const char* op = "lightning_recurrent_step";
  const int64_t B = a.qkv.dim[0];
  if (B == 0) return;
  check_head(op, a.H, a.D, a.pw);
  check_shape(op, "qkv", a.qkv, {B, (int64_t)a.H * 3 * a.D});
  check_shape(op, "o", a.o, {B, (int64_t)a.H * a.D});
  FULMEN_CHECK(a.state, std::string(op) + ": state is absent");
  ctx.table->lightning_recurrent_step(a, ctx);
}

}  // namespace fulmen::kernels
