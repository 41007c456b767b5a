#include "kernels/cpu/entries.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"
#include "kernels/shared_range.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int64_t kUnitCost = 1 << 19;  // see cost(); some 10 us of work: small enough to balance, large enough to pay
constexpr int64_t kSharedCost = 1 << 17;  // less than this is not worth a second thread

// In fused multiply-adds; below 12 rows reading the weights takes the time that 12 rows of arithmetic would.
FULMEN_INLINE int64_t cost(const Products& p) {
  const Gemm& g = p.of[0];
  return g.M == 0 ? 0 : (g.M > 12 ? g.M : 12) * p.panels() * kPanel * g.K;
}

// How one list of products is cut: row parts x column groups of panels. Scheduling only, never arithmetic.
struct Plan {
  int64_t row_parts, groups, group_panels;
  int64_t units() const { return row_parts * groups; }

  // `unit_cost`: of a unit, wanted.
  static Plan of(const Products& products, int64_t unit_cost, int threads) {
    const Gemm& g = products.of[0];
    const int64_t panels = products.panels(), tiles = ceil_div(g.M, kTileRows), blocks = ceil_div(tiles, kBlockTiles);
    const int64_t wanted = ceil_div(cost(products), unit_cost);
    Plan p{1, 1, panels};
    if (wanted <= 1) return p;
    int64_t columns;    // panels of a group, wanted
    if (in_place(g)) {  // a row part packs its A once for all columns, so rows first
      const bool small_b = panels * kPanel * g.K * (int64_t)sizeof(float) <= kCachedBytes;  // reading it again is cheap
      const int64_t parts = small_b ? tiles : ceil_div(blocks, threads) * threads;
      if (blocks > 1) p.row_parts = min64(parts, min64(wanted, tiles));
      columns = panels * p.row_parts / wanted;
      const int64_t at_once = columns > 8 ? 4 : 2;  // few rows stream up to 4 panels at once
      columns = ceil_div(columns, at_once) * at_once;
    } else {  // every group packs all of A, every row part all of B: the cut that packs least
      int64_t least = INT64_MAX;
      columns = panels;
      for (int64_t groups = 1; groups <= min64(wanted, panels); groups *= 2) {
        const int64_t parts = min64(ceil_div(wanted, groups), tiles), packed = groups * g.M + parts * panels * kPanel;
        if (packed >= least) continue;
        least = packed;
        p.row_parts = parts;
        columns = ceil_div(panels, groups);
      }
    }
    p.group_panels = columns < 1 ? 1 : min64(columns, panels);
    p.groups = ceil_div(panels, p.group_panels);
    return p;
  }
};

void run_unit(const Products& products, const Plan& p, int64_t unit, Scratch& scratch) {
  const int64_t part = unit / p.groups, q0 = unit % p.groups * p.group_panels, M = products.of[0].M;
  const int64_t tiles = ceil_div(M, kTileRows);
  const auto row = [&](int64_t b) { return M * (tiles * b / p.row_parts) / tiles; };  // at the edge of a row tile
  gemm_block(products, row(part), row(part + 1), q0, min64(q0 + p.group_panels, products.panels()), scratch);
}

// Runs products_at(0 .. count-1), which write disjoint outputs, on all threads.
template <class ProductsAt>
void run_gemms(int64_t count, const ProductsAt& products_at, Context& ctx) {
  ThreadPool& pool = *ctx.pool;
  int64_t total = 0, bytes = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Products p = products_at(i);
    total += cost(p);
    if (p.of[0].M > 0) bytes += p.panels() * kPanel * p.of[0].K * dtype_bytes(p.of[0].b_dtype);
  }
  const bool cached = bytes <= kCachedBytes;
  const int threads = total < kSharedCost ? 1 : pool.size();
  const int64_t share = total / (threads * 8), most = ceil_div(total, threads);
  const int64_t unit_cost = share > kUnitCost ? share : min64(kUnitCost, most);
  // Of product i, or of the first one after it that has work.
  const auto first_panel = [&](int64_t i) -> const char* {
    for (; i < count; ++i)
      if (const Products p = products_at(i); cost(p) > 0) return p.panel(0);
    return nullptr;
  };
  if (threads == 1) {
    Scratch scratch(pool.scratch(0, kGemmScratch));
    for (int64_t i = 0; i < count; ++i) {
      Products p = products_at(i);
      p.cached = cached;
      if (cost(p) > 0) p.after = first_panel(i + 1), gemm_block(p, 0, p.of[0].M, 0, p.panels(), scratch);
    }
    return;
  }
  int64_t units = 0;  // numbered through all products
  for (int64_t i = 0; i < count; ++i)
    if (const Products p = products_at(i); cost(p) > 0) units += Plan::of(p, unit_cost, threads).units();
  SharedRange range(units, threads);
  const auto work = [&](int thread_idx) {
    Scratch scratch(pool.scratch(thread_idx, kGemmScratch));
    int64_t unit = range.take(thread_idx);
    while (unit >= 0) {  // once through the products, and again after helping out further ahead
      int64_t first = 0;
      for (int64_t i = 0; i < count && unit >= first; ++i) {
        Products p = products_at(i);
        if (cost(p) == 0) continue;
        p.cached = cached;
        const Plan plan = Plan::of(p, unit_cost, threads);
        for (; unit >= first && unit < first + plan.units(); unit = range.take(thread_idx)) {
          const int64_t later = unit - first + 1;  // most likely the next unit
          p.after = later < plan.units() ? p.panel(later % plan.groups * plan.group_panels) : first_panel(i + 1);
          run_unit(p, plan, unit - first, scratch);
        }
        first += plan.units();
      }
    }
  };
  pool.run([&work](int thread_idx) { work(thread_idx); });
}

Gemm forward_gemm(const TensorRef& x, const PackedWeight& w, const TensorRef& y, int64_t r0, int64_t r1) {
  return {x.row(r0), x.ld, 1, w.data, w.dtype, 0, y.row(r0), y.ld, r1 - r0, w.N, w.K, false};
}
Products dx_gemm(const TensorRef& dy, const TensorRef& w, const TensorRef& dx, bool accumulate, int64_t r0,
                 int64_t r1) {
  return {{{dy.row(r0), dy.ld, 1, w.data, w.dtype, w.ld, dx.row(r0), dx.ld, r1 - r0, w.dim[1], w.dim[0], accumulate}},
          1};
}
Products dw_gemm(const TensorRef& dy, const TensorRef& x, const TensorRef& dw, int64_t r0, int64_t r1) {
  return {{{dy.row(r0), 1, dy.ld, x.row(r0), DType::kF32, x.ld, dw.f32(), dw.ld, dw.dim[0], dw.dim[1], r1 - r0, true}},
          1};
}

// Panel [K][32] from up to 32 rows of a row-major matrix, zero padded.
void pack_panel(const TensorRef& src, int64_t q, float* out) {
  const int64_t K = src.dim[1], rows = min64(kPanel, src.dim[0] - q * kPanel);
  if (rows < kPanel) memset(out, 0, (size_t)(K * kPanel) * sizeof(float));
  for (int64_t h = 0; h < rows; h += kLanes)
    for (int64_t k = 0; k < K; k += kPackStep)
      pack_transposed(src.row(q * kPanel + h) + k, src.ld, (int)min64(kLanes, rows - h), (int)min64(kPackStep, K - k),
                      out + k * kPanel + h, kPanel);
}

}  // namespace

void pack_weight(const TensorRef& src, DType dtype, void* dst, Context& ctx) {
  const int64_t elements = src.dim[1] * kPanel;
  const auto pack = [&](int64_t q0, int64_t q1, int thread_idx) {
    for (int64_t q = q0; q < q1; ++q) {
      if (dtype == DType::kF32) {
        pack_panel(src, q, (float*)dst + q * elements);
        continue;
      }
      float* wide = (float*)ctx.pool->scratch(thread_idx, (size_t)elements * sizeof(float));
      uint16_t* out = (uint16_t*)dst + q * elements;
      pack_panel(src, q, wide);
      for (int64_t i = 0; i < elements; ++i) out[i] = to_bf16(wide[i]);
    }
  };
  ctx.pool->parallel_for(ceil_div(src.dim[0], kPanel), 1, pack);
}

void linear_forward_together(std::span<const LinearForward> list, Context& ctx) {
  const auto products = [&](int64_t) {
    Products p{{}, (int)list.size()};
    for (int i = 0; i < p.count; ++i) p.of[i] = forward_gemm(list[i].x, list[i].w, list[i].y, 0, list[i].x.dim[0]);
    return p;
  };
  run_gemms(1, products, ctx);
}

void linear_forward(const LinearForward& a, Context& ctx) { FULMEN_ISA::linear_forward_together({&a, 1}, ctx); }

void linear_backward(const LinearBackward& a, Context& ctx) {
  const int64_t T = a.dy.dim[0];
  const auto gemm_at = [&](int64_t i) {
    return i == 0 && a.dx ? dx_gemm(a.dy, a.w, a.dx, a.dx_accumulate, 0, T) : dw_gemm(a.dy, a.x, a.dw, 0, T);
  };
  run_gemms((a.dx ? 1 : 0) + (a.dw ? 1 : 0), gemm_at, ctx);
}

void grouped_linear_forward_together(std::span<const GroupedLinearForward> list, Context& ctx) {
  const auto products = [&](int64_t e) {
    Products p{{}, (int)list.size()};
    for (int i = 0; i < p.count; ++i) {
      const GroupedLinearForward& a = list[i];
      p.of[i] = forward_gemm(a.x, a.w[e], a.y, a.offset[e], a.offset[e + 1]);
    }
    return p;
  };
  run_gemms((int64_t)list[0].w.size(), products, ctx);
}

void grouped_linear_forward(const GroupedLinearForward& a, Context& ctx) {
  FULMEN_ISA::grouped_linear_forward_together({&a, 1}, ctx);
}

void grouped_linear_backward(const GroupedLinearBackward& a, Context& ctx) {
  const int64_t experts = (int64_t)a.offset.size() - 1, dx_count = a.dx ? experts : 0;
  const auto gemm_at = [&](int64_t i) {
    if (i < dx_count) return dx_gemm(a.dy, a.w[i], a.dx, a.dx_accumulate, a.offset[i], a.offset[i + 1]);
    const int64_t e = i - dx_count;
    return dw_gemm(a.dy, a.x, a.dw[e], a.offset[e], a.offset[e + 1]);
  };
  run_gemms(dx_count + (a.dw.empty() ? 0 : experts), gemm_at, ctx);
}

}  // namespace fulmen::kernels::FULMEN_ISA
