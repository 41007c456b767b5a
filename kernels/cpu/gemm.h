#pragma once
// Matrix products of the CPU backend: C[m][n] (+)= sum over k of A(m, k) B(k, n), every element ONE fma chain over
// ascending k. Blocking spills a chain to C and reloads it, which is exact, so no size below enters a result.
//
// Layers, from the inside out:
//   tile          (gemm_tile.h) MR rows x NV Vec columns in registers, one pass over k
//   gemm_block    rows [m0, m1) x panels [q0, q1) by one thread: packs A k-major into L2, walks panels of B, of all
//                 products that share this A
//   run_gemms     (linear.cc) cuts a list of such products into blocks for the threads
//
// B comes as weight panels (PackedWeight, f32 or bf16) or as a plain matrix with B(k, n) at b[k * ldb + n]. Panels in
// f32, and in bf16 for few rows, are used in place; everything else is packed, some hundred columns at a time, into the
// scratch of the thread.

#include "kernels/cpu/gemm_tile.h"
#include "kernels/linear.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

// A and B blocks share the 1 MiB L2 of a core: 9 x 14 rows by 1024 of A while panels stream past, or half as deep
// beside 8 packed panels.
constexpr int64_t kBlockTiles = 9 * 14 / kTileRows;
constexpr int64_t kInPlaceK = 1024;
constexpr int64_t kPackedK = 512;
constexpr int64_t kGroupPanels = 8;
// Packing takes this many k of every tile or panel in turn: long runs of a row at once, since rows of a matrix lie on
// different pages, but few rows at once, since rows and tiles at multiples of 4 KiB share the 8 ways of an L1 set.
constexpr int64_t kPackChunk = 8;
constexpr int64_t kDirectRows = 3;               // up to here A is read in place: few rows cannot alias in L1
constexpr int64_t kWidenedRows = 2 * kTileRows;  // up to here widening bf16 in each row tile beats packing it as f32
constexpr int64_t kAheadBytes = 3072;            // prefetch distance in panels that are streamed through once
constexpr int64_t kAheadRows = 16;               // the same in a matrix
constexpr int64_t kCachedBytes = 256 << 10;      // weights of one call up to here count as cached

FULMEN_INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

struct Gemm {
  const float* a;  // A(m, k) = a[m * a_row + k * a_col]; one of the two strides is 1
  int64_t a_row, a_col;
  const void* b;
  DType b_dtype;
  int64_t ldb;  // 0: weight panels
  float* c;
  int64_t ldc;
  int64_t M, N, K;
  bool load;  // += instead of =
};

constexpr int64_t kPackedAFloats = kBlockTiles * kTileRows * kInPlaceK + kLanes;  // the last store of packing overhangs
constexpr int64_t kPackedBFloats = kGroupPanels * kPackedK * kPanel;
constexpr size_t kGemmScratch =  // bytes of memory that Scratch takes
    (kPackedBFloats + kPackedAFloats) * sizeof(float);

FULMEN_INLINE int64_t panels_of(const Gemm& g) { return ceil_div(g.N, kPanel); }

FULMEN_INLINE bool in_place(const Gemm& g) { return !g.ldb && (g.b_dtype == DType::kF32 || g.M <= kWidenedRows); }
FULMEN_INLINE int64_t offset_of_b(const Gemm& g, int64_t q, int64_t k) {
  return g.ldb ? k * g.ldb + q * kPanel : (q * g.K + k) * kPanel;
}
FULMEN_INLINE const char* panel_of(const Gemm& g, int64_t q) {
  return (const char*)g.b + offset_of_b(g, q, 0) * dtype_bytes(g.b_dtype);
}

// Products of one A: their panels are numbered through, and A is packed once for all of them.
struct Products {
  Gemm of[kMaxTogether];
  int count;
  bool cached = false;          // B is likely to lie in L2: prefetching it would only take the place of loads
  const char* after = nullptr;  // the panel that the thread is likely to need next, worth prefetching

  int64_t panels() const {
    int64_t n = 0;
    for (int i = 0; i < count; ++i) n += panels_of(of[i]);
    return n;
  }
  // f(product, q0, q1, after) for the parts of panels [q0, q1), in the product's own numbers.
  template <class F>
  void each(int64_t q0, int64_t q1, F f) const {
    for (int i = 0; i < count && q1 > 0; ++i) {
      const int64_t n = panels_of(of[i]), last = min64(q1, n);
      if (q0 < last) f(of[i], q0, last, q1 > n && i + 1 < count ? panel_of(of[i + 1], 0) : after);
      q0 = q0 > n ? q0 - n : 0;
      q1 -= n;
    }
  }
  const char* panel(int64_t q) const {
    const char* p = nullptr;
    each(q, q + 1, [&p](const Gemm& g, int64_t at, int64_t, const char*) { p = panel_of(g, at); });
    return p;
  }
};

// Rows [m0, m1) of a product in balanced tiles of at most kTileRows: the first `longer` have one row more than the
// others.
struct RowTiles {
  int64_t m0, count, shortest, longer;
  static RowTiles of(int64_t m0, int64_t m1) {
    const int64_t count = ceil_div(m1 - m0, kTileRows);
    return {m0, count, (m1 - m0) / count, (m1 - m0) % count};
  }
  int64_t begin(int64_t t) const { return m0 + t * shortest + min64(t, longer); }
  int64_t rows(int64_t t) const { return shortest + (t < longer); }
};

// A rows of tiles [t0, t1), k in [k0, k0 + kn): tile after tile, each [k][rows].
void pack_a(const Gemm& g, const RowTiles& tiles, int64_t t0, int64_t t1, int64_t k0, int64_t kn, float* out) {
  if (g.a_col == 1) {
    for (int64_t t = t0; t < t1; ++t) {
      const int64_t rows = tiles.rows(t);
      const float* a = g.a + tiles.begin(t) * g.a_row + k0;
      for (int64_t k = 0; k < kn; k += kPackStep) {
        // The next tile: rows a fixed stride apart within a page are more streams than the hardware follows.
        for (int64_t r = 0; r < rows; ++r) _mm_prefetch((const char*)(a + (rows + r) * g.a_row + k), _MM_HINT_T1);
        pack_transposed(a + k, g.a_row, (int)rows, (int)min64(kPackStep, kn - k), out + k * rows, rows);
      }
      out += kn * rows;
    }
    return;
  }
  for (int64_t kc = 0; kc < kn; kc += kPackChunk) {
    int64_t at = tiles.begin(t0);
    float* to = out;
    for (int64_t t = t0; t < t1; ++t) {
      const int64_t rows = tiles.rows(t);
      for (int64_t k = kc; k < kn && k < kc + kPackChunk; ++k) {
        const float* from = g.a + at + (k0 + k) * g.a_col;
        _mm_prefetch((const char*)(from + kPackChunk * g.a_col), _MM_HINT_T0);
        store_n(to + k * rows, load_n(from, (int)rows), (int)rows);
      }
      at += rows;
      to += kn * rows;
    }
  }
}

// What a thread works in, and which block of A lies packed there: blocks that follow each other often share it. One for
// each list of products; A must not change meanwhile.
class Scratch {
 public:
  explicit Scratch(void* memory) : b_((float*)memory), a_(b_ + kPackedBFloats) {}
  float* b() const { return b_; }
  const float* pack_a(const Gemm& g, const RowTiles& tiles, int64_t t0, int64_t t1, int64_t k0, int64_t kn) {
    const int64_t m0 = tiles.begin(t0), m1 = tiles.begin(t1);
    const bool same = g.a == from_ && g.a_row == a_row_ && m0 == m0_ && m1 == m1_ && k0 == k0_ && kn == kn_;
    if (!same) FULMEN_ISA::pack_a(g, tiles, t0, t1, k0, kn, a_);
    from_ = g.a, a_row_ = g.a_row, m0_ = m0, m1_ = m1, k0_ = k0, kn_ = kn;
    return a_;
  }

 private:
  float *b_, *a_;
  const float* from_ = nullptr;
  int64_t a_row_ = 0, m0_ = 0, m1_ = 0, k0_ = 0, kn_ = 0;
};

FULMEN_INLINE Vec load_columns(const float* p, int64_t n) {
  return n >= kLanes ? load(p) : load_n(p, n > 0 ? (int)n : 0);
}
FULMEN_INLINE Vec load_columns(const uint16_t* p, int64_t n) {
  if (n >= kLanes) return load(p);
  alignas(64) uint16_t part[kLanes] = {};
  for (int64_t j = 0; j < n; ++j) part[j] = p[j];
  return load(part);
}

// Panels [q0, q1) of B, k in [k0, k0 + kn), as f32: panel after panel, each [k][32], zero padded.
template <class T>
void pack_b(const Gemm& g, int64_t q0, int64_t q1, int64_t k0, int64_t kn, float* out) {
  for (int64_t kc = 0; kc < kn; kc += kPackChunk)
    for (int64_t q = q0; q < q1; ++q) {
      const int64_t cols = g.ldb ? g.N - q * kPanel : kPanel;
      for (int64_t k = kc; k < kn && k < kc + kPackChunk; ++k) {
        const T* b = (const T*)g.b + offset_of_b(g, q, k0 + k);
        if (g.ldb) {
          _mm_prefetch((const char*)(b + kPackChunk * g.ldb), _MM_HINT_T0);
          if (sizeof(T) == 4) _mm_prefetch((const char*)(b + kPackChunk * g.ldb + kLanes), _MM_HINT_T0);
        }
        float* to = out + ((q - q0) * kn + k) * kPanel;
        store(to, load_columns(b, cols));
        store(to + kLanes, load_columns(b + kLanes, cols - kLanes));
      }
    }
}

// Few rows: one row tile streams through B once, `NV / 2` panels at a time so that enough chains are in flight.
// Returns the first panel not done.
template <int NV, class T, APlace place, Prefetch prefetch>
int64_t stream_panels(const Gemm& g, const float* a, int64_t m0, int64_t rows, int64_t q0, int64_t q1,
                      const char* after) {
  constexpr int kPanels = NV > 2 ? NV / 2 : 1;
  const int64_t step = g.ldb ? g.ldb : kPanel, panel = g.ldb ? kPanel : g.K * kPanel;
  const int64_t tail = g.ldb ? kAheadRows : kAheadBytes / (kPanel * (int64_t)sizeof(T));
  const int64_t ahead = tail * step * (int64_t)sizeof(T);
  const int64_t before_tail = (g.K - tail) * step * (int64_t)sizeof(T);
  int64_t q = q0;
  for (; q + kPanels <= q1; q += kPanels) {
    float* c = g.c + m0 * g.ldc + q * kPanel;
    const char* b = panel_of(g, q);
    const char* next = q + kPanels < q1 || !after ? panel_of(g, q + kPanels) : after;
    run_tile<NV, T, place, prefetch>({a, g.a_row, b, panel, step, g.K, c, g.ldc, g.load, c + kPanels * kPanel, nullptr,
                                      ahead, tail, next - b - before_tail},
                                     rows, g.N - q * kPanel);
  }
  return q;
}

#ifdef __AVX512F__
// Weight panels that lie in L2, by MR = 8 or 9 rows: tiles of three vectors, two of them over three panels, take fewer
// loads and instructions for each product than tiles of two. Returns the first panel not done.
template <int MR>
int64_t cached_panels(const Gemm& g, const float* a, int64_t m0, int64_t q0, int64_t q1) {
  constexpr APlace kA = APlace::kDirect;
  constexpr Prefetch kInto = Prefetch::kIntoL1;
  TileArgs t{a, g.a_row, nullptr, g.K * kPanel, kPanel, g.K, nullptr, g.ldc, g.load, nullptr, nullptr, 0};
  const auto place = [&](int64_t q, int64_t vec) {
    t.b = panel_of(g, q);
    t.c = g.c + m0 * g.ldc + q * kPanel + vec * kLanes;
  };
  q1 = min64(q1, g.N / kPanel);
  for (; q0 + 3 <= q1; q0 += 3) {
    place(q0, 0), tile<MR, 3, float, kA, kInto>(t);
    place(q0 + 1, 1), tile<MR, 3, float, kA, kInto, 1>(t);
  }
  for (; q0 < q1; ++q0) place(q0, 0), tile<MR, 2, float, kA, kInto>(t);
  return q0;
}
#endif

// False where these tiles do not serve.
bool few_rows_cached(const Products& p, int64_t m0, int64_t rows, int64_t q0, int64_t q1) {
#ifdef __AVX512F__
  const Gemm& first = p.of[0];
  constexpr int64_t kAliasing = 4096 / sizeof(float);  // rows so far apart share the 8 ways of an L1 set
  if (!p.cached || rows < 8 || rows > 9 || first.ldb || first.b_dtype != DType::kF32 || first.a_row % kAliasing == 0)
    return false;
  p.each(q0, q1, [&](const Gemm& g, int64_t q, int64_t last, const char* after) {
    const float* a = g.a + m0 * g.a_row;
    q = rows == 8 ? cached_panels<8>(g, a, m0, q, last) : cached_panels<9>(g, a, m0, q, last);
    stream_panels<2, float, APlace::kDirect, Prefetch::kNone>(g, a, m0, rows, q, last, after);
  });
  return true;
#else
  (void)p, (void)m0, (void)rows, (void)q0, (void)q1;
  return false;
#endif
}

template <class T, Prefetch prefetch>
void few_rows(const Products& p, int64_t m0, int64_t rows, int64_t q0, int64_t q1, Scratch& scratch) {
  constexpr int kRegs = kTileRows * kTileVecs;
  if (rows <= kDirectRows) {
    p.each(q0, q1, [&](const Gemm& g, int64_t q, int64_t last, const char* after) {
      const float* a = g.a + m0 * g.a_row;
      if (prefetch != Prefetch::kNone && rows * 8 <= kRegs)
        q = stream_panels<8, T, APlace::kDirect, prefetch>(g, a, m0, rows, q, last, after);
      if (rows * 4 <= kRegs) q = stream_panels<4, T, APlace::kDirect, prefetch>(g, a, m0, rows, q, last, after);
      if (rows * 2 <= kRegs) q = stream_panels<2, T, APlace::kDirect, prefetch>(g, a, m0, rows, q, last, after);
    });
    return;
  }
  const float* a = scratch.pack_a(p.of[0], RowTiles::of(m0, m0 + rows), 0, 1, 0, p.of[0].K);
  p.each(q0, q1, [&](const Gemm& g, int64_t q, int64_t last, const char* after) {
    if constexpr ((kDirectRows + 1) * 4 <= kRegs)
      if (rows * 4 <= kRegs) q = stream_panels<4, T, APlace::kPacked, prefetch>(g, a, m0, rows, q, last, after);
    if (rows * 2 <= kRegs) q = stream_panels<2, T, APlace::kPacked, prefetch>(g, a, m0, rows, q, last, after);
    stream_panels<kTileVecs, T, APlace::kPacked, prefetch>(g, a, m0, rows, q, last, after);
  });
}

// One block of packed A by some panels, chains over k in [k0, k0 + kn).
struct Block {
  const RowTiles& tiles;
  int64_t t0, t1, k0, kn;
  const float* a;

  template <class T>
  void run(const Gemm& g, int64_t t, int64_t q, const T* b, const float* c_next, const char* pf,
           int64_t pf_step) const {
    const int64_t m = tiles.begin(t);
    run_tile<kTileVecs, T, APlace::kPacked, Prefetch::kNextBlock>(
        {a + (m - tiles.begin(t0)) * kn, 0, b, 0, kPanel, kn, g.c + m * g.ldc + q * kPanel, g.ldc, g.load || k0 > 0,
         c_next, pf, pf_step},
        tiles.rows(t), g.N - q * kPanel);
  }

  // Panels in place, from DRAM or L3: each is used by all row tiles while these prefetch the next one in equal shares.
  template <class T>
  void run_in_place(const Gemm& g, int64_t q0, int64_t q1, const char* after) const {
    const int64_t pf_step = ceil_div(kPanel * (int64_t)sizeof(T), t1 - t0);
    for (int64_t q = q0; q < q1; ++q) {
      const char* next = q + 1 < q1 || !after ? (const char*)((const T*)g.b + offset_of_b(g, q + 1, k0)) : after;
      for (int64_t t = t0; t < t1; ++t) {
        const int64_t m_next = tiles.begin(t + 1 < t1 ? t + 1 : t0), q_next = t + 1 < t1 ? q : q + 1;
        run(g, t, q, (const T*)g.b + offset_of_b(g, q, k0), g.c + m_next * g.ldc + q_next * kPanel,
            next + (t - t0) * kn * pf_step, pf_step);
      }
    }
  }

  // Panels packed at b, in L2: one row tile after the other so that C is walked along its rows.
  void run_packed(const Gemm& g, int64_t q0, int64_t q1, const float* b) const {
    for (int64_t t = t0; t < t1; ++t)
      for (int64_t q = q0; q < q1; ++q) {
        const int64_t m_next = tiles.begin(q + 1 < q1 ? t : t + 1), q_next = q + 1 < q1 ? q + 1 : q0;
        const float* panel = b + (q - q0) * kn * kPanel;
        run(g, t, q, panel, g.c + m_next * g.ldc + q_next * kPanel, (const char*)panel, 0);
      }
  }
};

void many_rows_in_place(const Products& p, const RowTiles& tiles, int64_t q0, int64_t q1, Scratch& scratch) {
  const Gemm& g = p.of[0];
  for (int64_t k = 0; k < g.K; k += kInPlaceK)
    for (int64_t t = 0; t < tiles.count; t += kBlockTiles) {
      const int64_t t1 = min64(tiles.count, t + kBlockTiles), kn = min64(kInPlaceK, g.K - k);
      const Block block{tiles, t, t1, k, kn, scratch.pack_a(g, tiles, t, t1, k, kn)};
      p.each(q0, q1, [&](const Gemm& one, int64_t q, int64_t last, const char* after) {
        if (one.b_dtype == DType::kF32)
          block.run_in_place<float>(one, q, last, after);
        else
          block.run_in_place<uint16_t>(one, q, last, after);
      });
    }
}

void many_rows_packed(const Gemm& g, const RowTiles& tiles, int64_t q0, int64_t q1, Scratch& scratch) {
  float* packed_b = scratch.b();
  const int64_t group = kPackedBFloats / (min64(g.K, kPackedK) * kPanel);
  for (int64_t q = q0; q < q1; q += group) {
    const int64_t q_end = min64(q1, q + group);
    for (int64_t k = 0; k < g.K; k += kPackedK) {
      const int64_t kn = min64(kPackedK, g.K - k);
      (g.b_dtype == DType::kF32 ? pack_b<float> : pack_b<uint16_t>)(g, q, q_end, k, kn, packed_b);
      for (int64_t t = 0; t < tiles.count; t += kBlockTiles) {
        const int64_t t1 = min64(tiles.count, t + kBlockTiles);
        const Block block{tiles, t, t1, k, kn, scratch.pack_a(g, tiles, t, t1, k, kn)};
        block.run_packed(g, q, q_end, packed_b);
      }
    }
  }
}

// Rows [m0, m1) by panels [q0, q1).
void gemm_block(const Products& p, int64_t m0, int64_t m1, int64_t q0, int64_t q1, Scratch& scratch) {
  const Gemm& g = p.of[0];
  const int64_t rows = m1 - m0;
  const RowTiles tiles = RowTiles::of(m0, m1);
  const bool single_tile = rows <= kTileRows && g.a_col == 1 && rows * g.K <= kPackedAFloats;
  if (!single_tile && in_place(g)) {
    many_rows_in_place(p, tiles, q0, q1, scratch);
    return;
  }
  const auto packed = [&](const Gemm& one, int64_t q, int64_t last, const char*) {
    many_rows_packed(one, tiles, q, last, scratch);
  };
  if (!single_tile) {
    p.each(q0, q1, packed);
    return;
  }
  // A single tile passes B once: packing B would not pay, except where a row of a matrix ends inside a panel.
  int64_t q_end = q1;
  if (g.ldb && q1 * kPanel > g.N) --q_end;
  if (few_rows_cached(p, m0, rows, q0, q_end)) return;
  if (g.b_dtype == DType::kF32)
    (p.cached ? few_rows<float, Prefetch::kNone> : few_rows<float, Prefetch::kOwnStream>)(p, m0, rows, q0, q_end,
                                                                                          scratch);
  else
    few_rows<uint16_t, Prefetch::kOwnStream>(p, m0, rows, q0, q_end, scratch);
  if (q_end < q1) p.each(q_end, q1, packed);
}

}  // namespace
}  // namespace fulmen::kernels::FULMEN_ISA
