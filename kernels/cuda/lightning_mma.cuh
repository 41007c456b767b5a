#pragma once
// Block-aligned lightning attention in bf16 on the tensor cores: kernels/lightning.h with every product an
// mma.sync m16n8k16 and one fp32 accumulator per output. Canonical, in decode, prefill and learner alike:
//
//   o   = sum over x, 16 at a time ascending: q S_hi, then q S_lo    S = hi + lo, both bf16; 0 in the first block
//   o   = o * pw[i+1]
//   p_j = bf16((q . k_j) * pw[i-j]), 0 for j > i                     x in steps of 16
//   o   = o + sum over j of p_j v_j                                  j in steps of 16, up to the step that holds i
//   dS  = sum over j of bf16(v_j pw[63-j]) k_j;  S' = fma(pw[64], S, dS)    j in 4 steps of 16, in fp32
//
// A thread block walks one head of a sequence with a slice of 64 columns of V. Its part of S stays in registers
// (fp32, transposed: rows are columns of V) and in shared memory as hi and lo, ready to be multiplied. kRowTiles is the
// number of 16-row tiles done at once: 4 for long pieces, 1 for pieces of a few rows, which then pay for 16 rows and
// not for 64; the order is the same.
//
// At D = 128: 87 KB of shared memory and 256 threads, two blocks a multiprocessor; one loads while the other computes.

#include "kernels/cuda/tensor.cuh"
#include "kernels/lightning.h"

namespace fulmen::kernels::cuda {

constexpr int kBlock = kLightningBlock;
constexpr int kSliceMma = 64;            // columns of V of a thread block
constexpr int kSliceLd = kSliceMma + 8;  // of v and p

template <int kRowTiles>
constexpr int kThreadsOf = kRowTiles == 4 ? 256 : 128;

struct LightningTiles {       // in shared memory
  uint16_t *q, *k, *hi, *lo;  // (64, D): tokens, tokens, columns of V, the same
  uint16_t *v, *p;            // (64, 64): tokens x columns, rows x tokens
  float* pw;
  int ld;

  static __host__ __device__ size_t bytes(int D) {
    return sizeof(uint16_t) * (4 * kBlock * (static_cast<size_t>(D) + 8) + 2 * kBlock * kSliceLd) +
           sizeof(float) * (kBlock + 4);
  }
  __device__ LightningTiles(unsigned char* at, int D) : ld(D + 8) {
    q = reinterpret_cast<uint16_t*>(at);
    k = q + kBlock * ld;
    hi = k + kBlock * ld;
    lo = hi + kBlock * ld;
    v = lo + kBlock * ld;
    p = v + kBlock * kSliceLd;
    pw = reinterpret_cast<float*>(p + kBlock * kSliceLd);
  }
};

struct HeadInput {  // rows of one head; a negative ld walks a sequence backwards. v and o start at the slice
  const float *q, *k, *v;
  float* o;
  int64_t ld_q, ld_k, ld_v, ld_o;
  bool wide;  // all of them can be read and written in fours
};

struct HeadCache {  // slot and head of a cache; null without one: state (D, D), K and V of the current block (64, D)
  float* state = nullptr;
  uint16_t *k = nullptr, *v = nullptr;
};

// The slice of one head's state, spread over the registers of the block: warp w holds 16 columns of V, w % 4, and of
// the 16-row groups of x every kGroups-th.
template <int kD, int kRowTiles>
struct LightningState {
  static constexpr int kThreads = kThreadsOf<kRowTiles>;
  static constexpr int kGroups = kThreads / 128;
  static constexpr int kMine = kD / 16 / kGroups;
  float s[kMine][2][4];

  // f(x, column, value): every value of this thread.
  template <class F>
  __device__ void each(int D, F f) {
    const int g = lane_id() / 4, t = lane_id() % 4, v0 = warp_id() % 4 * 16;
    FULMEN_UNROLL
    for (int i = 0; i < kMine; ++i) {
      const int x0 = (i * kGroups + warp_id() / 4) * 16;
      if (x0 < D) FULMEN_UNROLL
      for (int n = 0; n < 8; ++n) f(x0 + n / 4 * 8 + 2 * t + n % 2, v0 + g + n / 2 % 2 * 8, s[i][n / 4][n % 4]);
    }
  }
  __device__ void load(const float* state, int D, int c0, int columns) {
    each(D,
         [&](int x, int c, float& value) { value = c < columns ? state[static_cast<int64_t>(x) * D + c0 + c] : 0.0f; });
  }
  __device__ void store(float* state, int D, int c0, int columns) {
    each(D, [&](int x, int c, float& value) {
      if (c < columns) state[static_cast<int64_t>(x) * D + c0 + c] = value;
    });
  }

  // S' of the block whose K and V stand in shared memory. `first`: S was zero and is not read.
  __device__ void advance(const LightningTiles& m, int D, bool first) {
    const int t = lane_id() % 4, v0 = warp_id() % 4 * 16;
    uint32_t a[4][4];  // decayed V, transposed
    FULMEN_UNROLL
    for (int j = 0; j < 4; ++j) {
      a_columns(a[j], m.v + j * 16 * kSliceLd + v0, kSliceLd);
      FULMEN_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float* decay = m.pw + kBlock - 1 - (j * 16 + i / 2 * 8 + 2 * t);
        a[j][i] = pack_bf16(low_half(a[j][i]) * decay[0], high_half(a[j][i]) * decay[-1]);
      }
    }
    FULMEN_UNROLL
    for (int i = 0; i < kMine; ++i) {
      const int x0 = (i * kGroups + warp_id() / 4) * 16;
      if (x0 >= D) break;
      float sum[2][4] = {};
      FULMEN_UNROLL
      for (int j = 0; j < 4; ++j) {
        uint32_t b[4];
        b_rows(b, m.k + j * 16 * m.ld + x0, m.ld);
        mma_pair(sum, a[j], b);
      }
      FULMEN_UNROLL
      for (int n = 0; n < 8; ++n) {
        float& s_n = s[i][n / 4][n % 4];
        s_n = fma32(m.pw[kBlock], first ? 0.0f : s_n, sum[n / 4][n % 4]);
      }
    }
  }

  // To shared memory, for the products of the block that begins.
  __device__ void publish(const LightningTiles& m, int D) const {
    const int g = lane_id() / 4, t = lane_id() % 4, v0 = warp_id() % 4 * 16;
    FULMEN_UNROLL
    for (int i = 0; i < kMine; ++i) {
      const int x0 = (i * kGroups + warp_id() / 4) * 16;
      if (x0 >= D) break;
      FULMEN_UNROLL
      for (int n = 0; n < 4; ++n) {
        const float low = s[i][n / 2][n % 2 * 2], high = s[i][n / 2][n % 2 * 2 + 1];
        const int at = (v0 + g + n % 2 * 8) * m.ld + x0 + n / 2 * 8 + 2 * t;
        const uint32_t hi = pack_bf16(low, high);
        *reinterpret_cast<uint32_t*>(m.hi + at) = hi;
        *reinterpret_cast<uint32_t*>(m.lo + at) = pack_rest(low, high, hi);
      }
    }
  }
};

// n rows of q and k and of the slice of v, from row `first` of the input on, to rows i0 .. of the tiles. Rows of v up
// to the next multiple of 16 and columns beyond D are zero: they meet weights that are zero.
template <int kThreads>
__device__ void load_rows(const LightningTiles& m, const HeadInput& in, int64_t first, int i0, int n, int D,
                          int columns) {
  const int tid = static_cast<int>(threadIdx.x), across = D / 4, rows_v = (i0 + n + 15) / 16 * 16 - i0;
  for (int i = tid; i < n * across; i += kThreads) {
    const int r = i / across, x = i % across * 4;
    const Four q = load_four(in.q + (first + r) * in.ld_q + x, in.wide);
    const Four k = load_four(in.k + (first + r) * in.ld_k + x, in.wide);
    store_four_bf16(m.q + (i0 + r) * m.ld + x, q);
    store_four_bf16(m.k + (i0 + r) * m.ld + x, k);
  }
  for (int i = tid; i < rows_v * (kSliceMma / 4); i += kThreads) {
    const int r = i / (kSliceMma / 4), c = i % (kSliceMma / 4) * 4;
    Four v{};
    if (r < n && c < columns) v = load_four(in.v + (first + r) * in.ld_v + c, in.wide);
    store_four_bf16(m.v + (i0 + r) * kSliceLd + c, v);
  }
}

// K and V of the slot's current block, `kept` tokens of it.
template <int kThreads>
__device__ void load_kept(const LightningTiles& m, const HeadCache& slot, int kept, int D, int c0, int columns) {
  const int tid = static_cast<int>(threadIdx.x), across = D / 8;
  for (int i = tid; i < kept * across; i += kThreads)
    *reinterpret_cast<uint4*>(m.k + i / across * m.ld + i % across * 8) =
        *reinterpret_cast<const uint4*>(slot.k + static_cast<int64_t>(i) * 8);
  for (int i = tid; i < kept * (kSliceMma / 8); i += kThreads) {
    const int r = i / (kSliceMma / 8), c = i % (kSliceMma / 8) * 8;
    uint4 v{};
    if (c < columns) v = *reinterpret_cast<const uint4*>(slot.v + static_cast<int64_t>(r) * D + c0 + c);
    *reinterpret_cast<uint4*>(m.v + r * kSliceLd + c) = v;
  }
}

// p of row tile `tile`; the warps of a tile share its groups of 16 tokens.
__device__ inline void block_weights(const LightningTiles& m, int tile, int group, int groups, int D) {
  const int g = lane_id() / 4, t = lane_id() % 4;
  for (int j0 = group * 16; j0 <= tile * 16; j0 += groups * 16) {
    float sum[2][4] = {};
    for (int x = 0; x < D; x += 16) {
      uint32_t a[4], b[4];
      a_rows(a, m.q + tile * 16 * m.ld + x, m.ld);
      b_columns(b, m.k + j0 * m.ld + x, m.ld);
      mma_pair(sum, a, b);
    }
    FULMEN_UNROLL
    for (int n = 0; n < 4; ++n) {
      const int i = tile * 16 + g + n % 2 * 8, j = j0 + n / 2 * 8 + 2 * t;
      const float* s = sum[n / 2] + n % 2 * 2;
      *reinterpret_cast<uint32_t*>(m.p + i * kSliceLd + j) =
          pack(j <= i ? to_bf16(s[0] * m.pw[i - j]) : uint16_t{0},
               j + 1 <= i ? to_bf16(s[1] * m.pw[i - j - 1]) : uint16_t{0});
    }
  }
}

// Rows [first, last) of row tile `tile` to o, whose row 0 is row `first_of_o` of the block; columns c .. c + 15.
__device__ inline void block_output(const LightningTiles& m, int tile, int c, int columns, int D, bool has_state,
                                    int first, int last, float* o, int64_t ld_o, bool wide) {
  const int g = lane_id() / 4, t = lane_id() % 4;
  float sum[2][4] = {};
  if (has_state) {
    for (int x = 0; x < D; x += 16) {
      uint32_t a[4], b[4];
      a_rows(a, m.q + tile * 16 * m.ld + x, m.ld);
      b_columns(b, m.hi + c * m.ld + x, m.ld);
      mma_pair(sum, a, b);
      b_columns(b, m.lo + c * m.ld + x, m.ld);
      mma_pair(sum, a, b);
    }
    const float up = m.pw[tile * 16 + g + 1], down = m.pw[tile * 16 + g + 9];
    FULMEN_UNROLL
    for (int n = 0; n < 8; ++n) sum[n / 4][n % 4] = sum[n / 4][n % 4] * (n % 4 < 2 ? up : down);
  }
  for (int j = 0; j <= tile; ++j) {
    uint32_t a[4], b[4];
    a_rows(a, m.p + tile * 16 * kSliceLd + j * 16, kSliceLd);
    b_rows(b, m.v + j * 16 * kSliceLd + c, kSliceLd);
    mma_pair(sum, a, b);
  }
  FULMEN_UNROLL
  for (int n = 0; n < 4; ++n) {
    const int i = tile * 16 + g + n % 2 * 8, column = c + n / 2 * 8 + 2 * t;
    if (i < first || i >= last || column >= columns) continue;
    store_two(o + (i - first) * ld_o + column, sum[n / 2][n % 2 * 2], sum[n / 2][n % 2 * 2 + 1], wide);
  }
}

// The states of a head at the beginning of every group but the first, to `states` (D, D), states_step apart: K and V
// are walked alone, the rows of the next block on their way while this one is added.
template <int kD>
__device__ void walk_states(const LightningTiles& m, const HeadInput& in, int c0, int columns, int D, int64_t rows,
                            int64_t group_rows, float* states, int64_t states_step) {
  constexpr int kThreads = kThreadsOf<4>, kFours = kBlock * kD / 4 / kThreads,
                kFoursV = kBlock * kSliceMma / 4 / kThreads;
  const int tid = static_cast<int>(threadIdx.x), across = D / 4;
  LightningState<kD, 4> state;
  Four k[kFours], v[kFoursV];
  const auto fetch = [&](int64_t first) {
    FULMEN_UNROLL
    for (int n = 0; n < kFours; ++n) {
      const int i = n * kThreads + tid;
      if (i < kBlock * across) k[n] = load_four(in.k + (first + i / across) * in.ld_k + i % across * 4, in.wide);
    }
    FULMEN_UNROLL
    for (int n = 0; n < kFoursV; ++n) {
      const int i = n * kThreads + tid, c = i % (kSliceMma / 4) * 4;
      v[n] = Four{};
      if (c < columns) v[n] = load_four(in.v + (first + i / (kSliceMma / 4)) * in.ld_v + c, in.wide);
    }
  };
  const int64_t last = (rows - 1) / group_rows * group_rows;  // what comes after needs no state
  fetch(0);
  for (int64_t first = 0; first < last; first += kBlock) {
    __syncthreads();  // the block before has been added
    FULMEN_UNROLL
    for (int n = 0; n < kFours; ++n) {
      const int i = n * kThreads + tid;
      if (i < kBlock * across) store_four_bf16(m.k + i / across * m.ld + i % across * 4, k[n]);
    }
    FULMEN_UNROLL
    for (int n = 0; n < kFoursV; ++n) {
      const int i = n * kThreads + tid;
      store_four_bf16(m.v + i / (kSliceMma / 4) * kSliceLd + i % (kSliceMma / 4) * 4, v[n]);
    }
    if (first + kBlock < last) fetch(first + kBlock);
    __syncthreads();
    state.advance(m, D, first == 0);
    if ((first + kBlock) % group_rows != 0) continue;
    state.store(states, D, c0, columns);
    states += states_step;
  }
}

// Tokens pos0 .. pos0 + rows - 1 of a head. Reads the slot and writes its state; K and V are appended by another
// kernel, once every slice has read what stood there. With `begin` there is no slot, and pos0 begins a block whose
// state that is.
template <int kD, int kRowTiles>
__device__ void lightning_head_mma(const LightningTiles& m, const HeadInput& in, const HeadCache& slot, int c0,
                                   int columns, int D, int64_t pos0, int64_t rows, const float* begin) {
  constexpr int kThreads = kThreadsOf<kRowTiles>, kWarps = kThreads / 32, kAcross = kWarps / kRowTiles;
  LightningState<kD, kRowTiles> state;
  if (slot.state != nullptr && pos0 > 0) {
    load_kept<kThreads>(m, slot, static_cast<int>((pos0 - 1) % kBlock) + 1, D, c0, columns);
    if (pos0 > kBlock) state.load(slot.state, D, c0, columns);
    if (pos0 > kBlock && pos0 % kBlock != 0) state.publish(m, D);
  }
  if (begin != nullptr) {
    state.load(begin, D, c0, columns);
    state.publish(m, D);
  }
  for (int64_t done = 0; done < rows;) {
    const int64_t pos = pos0 + done;
    const int i0 = static_cast<int>(pos % kBlock);
    const int n = static_cast<int>(rows - done < kBlock - i0 ? rows - done : kBlock - i0);
    __syncthreads();  // everyone is done with the block before
    if (i0 == 0 && pos > 0 && (done > 0 || begin == nullptr)) {
      state.advance(m, D, pos == kBlock);
      state.publish(m, D);
      __syncthreads();  // K and V of the block before are read
    }
    load_rows<kThreads>(m, in, done, i0, n, D, columns);
    __syncthreads();
    const int last_tile = (i0 + n - 1) / 16;
    for (int base = i0 / 16; base <= last_tile; base += kRowTiles) {
      const int tile = base + warp_id() % kRowTiles, group = warp_id() / kRowTiles;
      if (tile <= last_tile) block_weights(m, tile, group, kAcross, D);
      __syncthreads();
      if (tile <= last_tile)
        for (int c = group * 16; c < columns; c += kAcross * 16)
          block_output(m, tile, c, columns, D, pos >= kBlock, i0, i0 + n, in.o + done * in.ld_o, in.ld_o, in.wide);
    }
    done += n;
  }
  if (slot.state != nullptr && (pos0 + rows - 1) / kBlock > (pos0 > 0 ? (pos0 - 1) / kBlock : 0))  // it has advanced
    state.store(slot.state, D, c0, columns);
}

}  // namespace fulmen::kernels::cuda
