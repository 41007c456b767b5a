#include "kernels/pointwise.h"

#include <vector>

#include "kernels/rope_angles.h"
#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

// False on an empty batch. Throws unless x is a matrix.
bool check_matrix(const char* op, const char* name, const TensorRef& x) {
  if (x.rank == 2 && (x.dim[0] == 0 || x.dim[1] == 0)) return false;
  check_shape(op, name, x, {x.dim[0], x.dim[1]});
  return true;
}

void check_like(const char* op, const char* name, const TensorRef& t, const TensorRef& x) {
  check_shape(op, name, t, {x.dim[0], x.dim[1]});
}

// False on an empty batch.
bool check_tokens(const char* op, std::span<const int32_t> tokens, const char* table_name, const TensorRef& table,
                  const char* rows_name, const TensorRef& rows, size_t sampled = 0) {
  if (tokens.empty() && rows.dim[0] == 0) return false;
  check_shape(op, table_name, table, {table.dim[0], table.dim[1]});
  check_shape(op, rows_name, rows, {static_cast<int64_t>(tokens.size()), table.dim[1]});
  for (size_t t = 0; t < tokens.size(); ++t)
    FULMEN_CHECK(tokens[t] >= -static_cast<int64_t>(sampled) && tokens[t] < table.dim[0],
                 std::string(op) + ": token of row " + std::to_string(t) + " is " + std::to_string(tokens[t]) +
                     ", want 0.." + std::to_string(table.dim[0] - 1) + " (V is " + std::to_string(table.dim[0]) + ")");
  return true;
}

void check_rope_segments(std::span<const Segment> segments, int64_t T) {
  int64_t row = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    FULMEN_CHECK(s.row0 == row && s.rows >= 0 && s.pos0 >= 0,
                 "rope: segment " + std::to_string(i) + " has row0 " + std::to_string(s.row0) + ", rows " +
                     std::to_string(s.rows) + ", pos0 " + std::to_string(s.pos0) + ", want row0 " +
                     std::to_string(row) + " and nothing negative");
    row += s.rows;
  }
  FULMEN_CHECK(row == T, "rope: segments cover " + std::to_string(row) + " rows, want " + std::to_string(T));
}

}  // namespace

void embedding_forward(const EmbeddingForward& a, Context& ctx) {
  if (check_tokens("embedding_forward", a.tokens, "table", a.table, "y", a.y, a.sampled.size()))
    ctx.table->embedding_forward(a, ctx);
}

void embedding_backward(const EmbeddingBackward& a, Context& ctx) {
  if (check_tokens("embedding_backward", a.tokens, "dtable", a.dtable, "dy", a.dy))
    ctx.table->embedding_backward(a, ctx);
}

void silu_forward(const Silu& a, Context& ctx) {
  if (!check_matrix("silu_forward", "x", a.x)) return;
  check_like("silu_forward", "y", a.y, a.x);
  ctx.table->silu_forward(a, ctx);
}

void silu_backward(const SiluBackward& a, Context& ctx) {
  if (!check_matrix("silu_backward", "x", a.x)) return;
  check_like("silu_backward", "dy", a.dy, a.x);
  check_like("silu_backward", "dx", a.dx, a.x);
  ctx.table->silu_backward(a, ctx);
}

void swiglu_forward(const SwiGlu& a, Context& ctx) {
  if (!check_matrix("swiglu_forward", "gate", a.gate)) return;
  check_like("swiglu_forward", "up", a.up, a.gate);
  check_like("swiglu_forward", "y", a.y, a.gate);
  ctx.table->swiglu_forward(a, ctx);
}

void swiglu_backward(const SwiGluBackward& a, Context& ctx) {
  const char* op = "swiglu_backward";
  if (!check_matrix(op, "gate", a.gate)) return;
  check_like(op, "up", a.up, a.gate);
  check_like(op, "dy", a.dy, a.gate);
  check_like(op, "dgate", a.dgate, a.gate);
  check_like(op, "dup", a.dup, a.gate);
  ctx.table->swiglu_backward(a, ctx);
}

void scaled_add(const ScaledAdd& a, Context& ctx) {
  if (!check_matrix("scaled_add", "x", a.x)) return;
  check_like("scaled_add", "r", a.r, a.x);
  check_like("scaled_add", "y", a.y, a.x);
  ctx.table->scaled_add(a, ctx);
}

void round_to_bf16(const TensorRef& x, Context& ctx) {
  if (check_matrix("round_to_bf16", "x", x)) ctx.table->round_to_bf16(x, ctx);
}

void rope_angles(double theta, int rotary, int64_t first, int64_t last, float* out) {
  FULMEN_CHECK(rotary >= 2 && rotary % 2 == 0 && first >= 0, "rope_angles: rotary is " + std::to_string(rotary) +
                                                                 ", first " + std::to_string(first) +
                                                                 ", want rotary even and positive, first not negative");
  std::vector<double> frequency(static_cast<size_t>(rotary / 2));
  rope_frequencies(theta, rotary, frequency.data());
  for (int64_t position = first; position < last; ++position, out += rotary)
    rope_angles_of(position, frequency.data(), rotary / 2, out, out + rotary / 2);
}

void rope(const Rope& a, Context& ctx) {
  if (!check_matrix("rope", "x", a.x)) return;
  FULMEN_CHECK(a.heads > 0 && a.rotary > 0 && a.rotary % 2 == 0 && a.rotary <= a.D,
               "rope: heads is " + std::to_string(a.heads) + ", rotary " + std::to_string(a.rotary) + ", D " +
                   std::to_string(a.D) + ", want heads > 0 and an even rotary in 2..D");
  check_shape("rope", "x", a.x, {a.x.dim[0], int64_t{a.heads} * a.D});
  check_rope_segments(a.segments, a.x.dim[0]);
  ctx.table->rope(a, ctx);
}

}  // namespace fulmen::kernels
