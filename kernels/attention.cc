#include "kernels/attention.h"

#include "kernels/segment_check.h"
#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

void check_heads(const char* op, int H, int KV, int D) {
  FULMEN_CHECK(KV >= 1 && H >= KV && H % KV == 0, std::string(op) + ": H is " + std::to_string(H) +
                                                      ", want a positive multiple of KV = " + std::to_string(KV));
  FULMEN_CHECK(D >= 16 && D <= 256 && D % 16 == 0,
               std::string(op) + ": D is " + std::to_string(D) + ", want a multiple of 16 up to 256");
}

void check_pages(const char* op, const PagedKvCache& c, std::span<const Segment> segments) {
  FULMEN_CHECK(c.k && c.v && c.page_table, std::string(op) + ": cache lacks k, v or page_table");
  for (const Segment& s : segments) {
    const int64_t last = ((int64_t)s.pos0 + s.rows - 1) / kAttentionTile;
    FULMEN_CHECK(last < c.max_pages, std::string(op) + ": slot " + std::to_string(s.slot) + " needs page " +
                                         std::to_string(last) +
                                         ", want less than max_pages = " + std::to_string(c.max_pages));
    for (int64_t p = 0; p <= last; ++p)
      FULMEN_CHECK(c.page_table[s.slot * c.max_pages + p] >= 0,
                   std::string(op) + ": slot " + std::to_string(s.slot) + " has no page " + std::to_string(p));
  }
}

}  // namespace

void attention_forward(const AttentionForward& a, Context& ctx) {
  const char* op = "attention_forward";
  const int64_t T = a.q.dim[0];
  if (T == 0 && a.segments.empty()) return;
  check_heads(op, a.H, a.KV, a.D);
  check_shape(op, "q", a.q, {T, (int64_t)a.H * a.D});
  check_shape(op, "k", a.k, {T, (int64_t)a.KV * a.D});
  check_shape(op, "v", a.v, {T, (int64_t)a.KV * a.D});
  check_shape(op, "o", a.o, {T, (int64_t)a.H * a.D});
  if (a.lse) check_shape(op, "lse", a.lse, {T, a.H});
  check_segments(op, a.segments, T, a.cache != nullptr, INT32_MAX);
  if (a.cache) check_pages(op, *a.cache, a.segments);
  ctx.table->attention_forward(a, ctx);
}

void attention_backward(const AttentionBackward& a, Context& ctx) {
  const char* op = "attention_backward";
  const int64_t T = a.q.dim[0];
  if (T == 0 && a.segments.empty()) return;
  check_heads(op, a.H, a.KV, a.D);
  const int64_t q_width = (int64_t)a.H * a.D, kv_width = (int64_t)a.KV * a.D;
  check_shape(op, "q", a.q, {T, q_width});
  check_shape(op, "k", a.k, {T, kv_width});
  check_shape(op, "v", a.v, {T, kv_width});
  check_shape(op, "o", a.o, {T, q_width});
  check_shape(op, "lse", a.lse, {T, a.H});
  check_shape(op, "d_o", a.d_o, {T, q_width});
  check_shape(op, "dq", a.dq, {T, q_width});
  check_shape(op, "dk", a.dk, {T, kv_width});
  check_shape(op, "dv", a.dv, {T, kv_width});
  check_segments(op, a.segments, T, false, 0);
  ctx.table->attention_backward(a, ctx);
}

}  // namespace fulmen::kernels
