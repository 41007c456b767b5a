#include <vector>

#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/product_lines.cuh"
#include "kernels/cuda/product_tile.cuh"
#include "kernels/cuda/product_wgmma.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kRows = 128;       // of a tile, 64 a warpgroup
constexpr int kStep = 64;        // of k: a line of 128 bytes, four wgmma
constexpr int kLine = 64;        // values of a line
constexpr int kConsumers = 256;  // threads
constexpr int kThreads = kConsumers + 128;

// A tile of 256 columns: 48 KB a stage, 4 stages; 128 accumulators a thread, so one block a multiprocessor, the copying
// warpgroup giving its registers away. 128 columns: 32 KB a stage, 6 stages.
template <int kColumns>
constexpr int kStages = kColumns == 256 ? 4 : 6;
template <int kColumns>
constexpr int kStageBytes = (kRows + kColumns) * kStep * 2;
template <int kColumns>
constexpr size_t kSharedBytes = kStages<kColumns>* kStageBytes<kColumns> + 1024 +
                                2 * kStages<kColumns> * sizeof(uint64_t);

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

EncodeTiled encode_tiled() {  // of the driver, which this library is not linked with
  static const EncodeTiled function = [] {
    void* f = nullptr;
    cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &found),
          "cuTensorMapEncodeTiled");
#else  // gone in CUDA 13
    check(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &f, cudaEnableDefault, &found), "cuTensorMapEncodeTiled");
#endif
    FULMEN_CHECK(f != nullptr && found == cudaDriverEntryPointSuccess,
                 "cuda: this driver has no cuTensorMapEncodeTiled: update it");
    return reinterpret_cast<EncodeTiled>(f);
  }();
  return function;
}

CUtensorMap describe(const Lines& lines, int box_lines) {
  CUtensorMap map;
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(lines.width), static_cast<cuuint64_t>(lines.lines)};
  const cuuint64_t stride[1] = {static_cast<cuuint64_t>(lines.stride) * 2};
  const cuuint32_t box[2] = {kLine, static_cast<cuuint32_t>(box_lines)}, steps[2] = {1, 1};
  const CUresult code = encode_tiled()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(lines.data), dims,
                                       stride, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                       CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  FULMEN_CHECK(code == CUDA_SUCCESS, "cuda: a matrix of " + std::to_string(lines.lines) + " x " +
                                         std::to_string(lines.width) + " cannot be described to the copy engine");
  return map;
}

// An operand's tile of kTile rows (or columns), one step of k.
template <int kTile, int kAcross>
__device__ void copy_tile(uint16_t* to, const CUtensorMap* map, int first, int k, uint64_t* barrier) {
  if constexpr (kAcross == 0) {
    copy_box(to, map, k, first, barrier);
  } else {
    for (int block = 0; block < kTile / kLine; ++block)
      copy_box(to + block * kLine * kStep, map, first + block * kLine, k, barrier);
  }
}

template <int kAcross>
__device__ uint64_t describe_step(uint32_t address, int step) {  // 16 of k
  return operand_descriptor(address + static_cast<uint32_t>(step) * (kAcross != 0 ? 16 * 128 : 32),
                            kAcross != 0 ? kLine * kStep * 2 : 16);  // not read along k
}

struct Maps {
  CUtensorMap a, b;
  const CUtensorMap* b_list;  // per expert, in device memory
};

template <int kColumns>
__device__ void write_tile(const Product& p, const Tile& t, const float (&sum)[kColumns / 2], bool wide) {
  const int group = static_cast<int>(threadIdx.x) / 128, g = lane_id() / 4, q = lane_id() % 4;
  FULMEN_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int row = group * 64 + warp_id() % 4 * 16 + g + 8 * r;
    if (row >= t.rows) continue;
    float* to = t.c + row * p.c_row + t.n0;
    FULMEN_UNROLL
    for (int j = 0; j < kColumns / 8; ++j) {
      const int column = 8 * j + 2 * q;
      float x = sum[4 * j + 2 * r], y = sum[4 * j + 2 * r + 1];
      if (column + 1 < t.columns) {
        if (p.accumulate) x = to[column] + x, y = to[column + 1] + y;
        store_two(to + column, x, y, wide);
      } else if (column < t.columns) {
        to[column] = p.accumulate ? to[column] + x : x;
      }
    }
  }
}

// Grid: tiles x 1 x experts (kSum). Warpgroup 2 copies, 0 and 1 multiply.
template <int kColumns, int kAcrossA, int kAcrossB>
__global__ void __launch_bounds__(kThreads, 1)
    wgmma_kernel(Product p, const __grid_constant__ Maps maps, int64_t row_count, int64_t column_count, bool wide) {
  constexpr int kDepth = kStages<kColumns>;
  const Place place = place_of(blockIdx.x, row_count, column_count);
  const Tile t = find_tile(p, kRows, kColumns, place.row, place.column, static_cast<int>(blockIdx.z));
  if (t.rows <= 0) return;
  uint32_t skip = 1024 - shared_address(shared_bytes()) % 1024;
  if (skip == 1024) skip = 0;
  auto* const tiles = reinterpret_cast<uint16_t*>(shared_bytes() + skip);
  auto* const full =
      reinterpret_cast<uint64_t*>(reinterpret_cast<unsigned char*>(tiles) + kDepth * kStageBytes<kColumns>);
  uint64_t* const empty = full + kDepth;
  const auto a_of = [&](int stage) { return tiles + stage * (kStageBytes<kColumns> / 2); };
  const auto b_of = [&](int stage) { return a_of(stage) + kRows * kStep; };
  if (threadIdx.x == 0) {
    for (int i = 0; i < kDepth; ++i) barrier_init(full + i, 1), barrier_init(empty + i, kConsumers / 32);
    barriers_visible();
  }
  __syncthreads();
  const auto steps = static_cast<int>((t.K + kStep - 1) / kStep);
  if (static_cast<int>(threadIdx.x) >= kConsumers) {
    give_registers<24>();
    if (threadIdx.x != kConsumers) return;
    const int64_t k_first = first_line(p, t.expert);
    const CUtensorMap* b = &maps.b;
    if (maps.b_list != nullptr) b = maps.b_list + t.expert, map_acquire(b);
    for (int i = 0; i < steps; ++i) {
      const int stage = i % kDepth, k = static_cast<int>(k_first) + i * kStep;
      barrier_wait(empty + stage, static_cast<uint32_t>(i / kDepth + 1) & 1);
      barrier_expect(full + stage, kStageBytes<kColumns>);
      copy_tile<kRows, kAcrossA>(a_of(stage), &maps.a, static_cast<int>(t.m0), k, full + stage);
      copy_tile<kColumns, kAcrossB>(b_of(stage), b, static_cast<int>(t.n0), k, full + stage);
    }
  } else {
    take_registers<240>();
    const int group = static_cast<int>(threadIdx.x) / 128;
    float sum[kColumns / 2];
    FULMEN_UNROLL
    for (int i = 0; i < kColumns / 2; ++i) sum[i] = 0;
    for (int i = 0; i < steps; ++i) {
      const int stage = i % kDepth;
      // 64 rows further: 64 lines along k, one block of 64 values across.
      const uint32_t a = shared_address(a_of(stage)) + static_cast<uint32_t>(group) * 64 * 128;
      const uint32_t b = shared_address(b_of(stage));
      barrier_wait(full + stage, static_cast<uint32_t>(i / kDepth) & 1);
      wgmma_fence();
      FULMEN_UNROLL
      for (int k = 0; k < kStep / 16; ++k)
        wgmma<kAcrossA, kAcrossB>(sum, describe_step<kAcrossA>(a, k), describe_step<kAcrossB>(b, k));
      wgmma_close();
      wgmma_wait<1>();  // the step before has been read
      if (i > 0 && lane_id() == 0) barrier_arrive(empty + (i - 1) % kDepth);
    }
    wgmma_wait<0>();
    wgmma_sums_ready(sum);
    write_tile<kColumns>(p, t, sum, wide);
  }
}

template <int kColumns, int kAcrossA, int kAcrossB>
void run(const Product& p, State& state) {
  State::Frame frame(state);
  const Lines a = make_lines(left_operand(p), p, frame, state);
  const int box_a = kAcrossA != 0 ? kStep : kRows, box_b = kAcrossB != 0 ? kStep : kColumns;
  const Operand b = right_operand(p);
  Maps maps{describe(a, box_a), {}, nullptr};
  std::vector<CUtensorMap> list;
  if (p.groups == Groups::kRows) {
    for (int e = 0; e < p.experts; ++e) list.push_back(describe({p.b_host[e], b.line_stride, b.lines, b.width}, box_b));
    maps.b = list.front();
    maps.b_list = state.upload(std::span<const CUtensorMap>(list));
  } else {
    maps.b = describe(make_lines(b, p, frame, state), box_b);
  }
  const int64_t rows = row_tiles(p, kRows), columns = (p.N + kColumns - 1) / kColumns;
  const bool wide = p.c_list == nullptr && reinterpret_cast<uintptr_t>(p.c) % 8 == 0 && p.c_row % 2 == 0;
  launch(
      state, "multiply_wgmma", wgmma_kernel<kColumns, kAcrossA, kAcrossB>,
      dim3(static_cast<unsigned>(rows * columns), 1, p.groups == Groups::kSum ? static_cast<unsigned>(p.experts) : 1u),
      kThreads, kSharedBytes<kColumns>, p, maps, rows, columns, wide);
}

template <int kColumns>
void run(const Product& p, State& state) {
  const bool across_a = p.a_k != 1, across_b = p.b_k != 1;
  if (across_a)
    across_b ? run<kColumns, 1, 1>(p, state) : run<kColumns, 1, 0>(p, state);
  else
    across_b ? run<kColumns, 0, 1>(p, state) : run<kColumns, 0, 0>(p, state);
}

}  // namespace

void multiply_wgmma(const Product& p, State& state) { p.N > 128 ? run<256>(p, state) : run<128>(p, state); }

}  // namespace fulmen::kernels::cuda
