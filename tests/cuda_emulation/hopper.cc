#include "hopper.h"

#include <algorithm>
#include <map>
#include <vector>

#include "cuda.h"
#include "instructions.h"

namespace fulmen::emulation {
namespace {

struct TensorMap {  // what the opaque words of ours hold
  uint64_t data, width, lines, stride;
  uint32_t box_width, box_lines;
  uint64_t mark;
};
constexpr uint64_t kMark = 0x70616d726f736e65;

struct Box {
  unsigned char* to;
  TensorMap map;
  int value, line;
};

struct Barrier {
  int arrivals = 0, missing = 0;  // of the phase that runs
  int64_t bytes = 0;              // expected less landed
  uint32_t phase = 0;
  std::vector<Box> boxes;
};
std::map<uint64_t*, Barrier> barriers;

struct Product {  // of one warp
  float* d[kWarpLanes];
  int columns, warp;
  uint64_t a, b;
  bool transpose_a, transpose_b;
};
struct Products {
  std::vector<Product> open;
  std::vector<std::vector<Product>> closed;
};
std::map<int, Products> products;  // by warp
int wgmma_bits = 25;

Barrier& find(uint64_t* barrier) {
  const auto it = barriers.find(barrier);
  if (it == barriers.end()) die("a barrier that was never initialised");
  return it->second;
}

// 16-byte pieces of a 128-byte line change places with the number of the line.
uint32_t swizzled(uint32_t address) { return address ^ (address >> 3 & 0x70); }

int64_t land(const Box& b) {
  const uint32_t first = shared_address(b.to);
  if (first % 1024 != 0) die("a swizzled box does not begin at a multiple of 1024 bytes");
  for (uint32_t r = 0; r < b.map.box_lines; ++r)
    for (uint32_t c = 0; c < b.map.box_width; ++c) {
      const int64_t value = int64_t{b.value} + c, line = int64_t{b.line} + r;
      uint16_t x = 0;
      if (value >= 0 && line >= 0 && value < static_cast<int64_t>(b.map.width) &&
          line < static_cast<int64_t>(b.map.lines))
        std::memcpy(
            &x, reinterpret_cast<const char*>(b.map.data) + line * static_cast<int64_t>(b.map.stride) + 2 * value, 2);
      std::memcpy(shared_bytes() + swizzled(first + r * 128 + c * 2), &x, 2);
    }
  return int64_t{b.map.box_width} * b.map.box_lines * 2;
}

void settle(Barrier& b) {
  if (b.missing > 0 || b.bytes != 0) return;
  ++b.phase;
  b.missing = b.arrivals;
}

float operand(uint64_t descriptor, bool transpose, uint32_t across, uint32_t k) {
  if (descriptor >> 62 != 1) die("a wgmma operand without the swizzle of 128 bytes");
  const auto start = static_cast<uint32_t>(descriptor & 0x3fff) << 4;
  const auto block = static_cast<uint32_t>(descriptor >> 16 & 0x3fff) << 4;
  const auto eight = static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4;
  const uint32_t line = transpose ? k : across, value = transpose ? across % 64 : k;
  const uint32_t at = start + line / 8 * eight + line % 8 * 128 + value * 2 + (transpose ? across / 64 * block : 0);
  uint16_t x;
  std::memcpy(&x, shared_bytes() + swizzled(at), 2);
  return std::bit_cast<float>(static_cast<uint32_t>(x) << 16);
}

void execute(const Product& p) {
  std::vector<float> b(static_cast<size_t>(p.columns) * 16);
  for (int n = 0; n < p.columns; ++n)
    for (int k = 0; k < 16; ++k)
      b[static_cast<size_t>(n * 16 + k)] =
          operand(p.b, p.transpose_b, static_cast<uint32_t>(n), static_cast<uint32_t>(k));
  for (int row = 0; row < 16; ++row) {
    float a[16];
    for (int k = 0; k < 16; ++k)
      a[k] = operand(p.a, p.transpose_a, static_cast<uint32_t>(p.warp % 4 * 16 + row), static_cast<uint32_t>(k));
    for (int n = 0; n < p.columns; ++n) {
      float& d = p.d[row % 8 * 4 + n % 8 / 2][n / 8 * 4 + row / 8 * 2 + n % 2];
      d = fused_sum(d, a, &b[static_cast<size_t>(n * 16)], wgmma_bits);
    }
  }
}

}  // namespace

void begin_hopper() {
  barriers.clear();
  products.clear();
}

uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(static_cast<const unsigned char*>(p) - shared_bytes());
}

void barrier_init(uint64_t* barrier, int arrivals) { barriers[barrier] = {arrivals, arrivals, 0, 0, {}}; }

void barrier_arrive(uint64_t* barrier) {
  Barrier& b = find(barrier);
  if (--b.missing < 0) die("more arrivals at a barrier than it counts");
  settle(b);
}

void barrier_expect(uint64_t* barrier, uint32_t bytes) {
  find(barrier).bytes += bytes;
  barrier_arrive(barrier);
}

void barrier_wait(uint64_t* barrier, uint32_t parity) {
  for (;;) {
    Barrier& b = find(barrier);
    std::vector<Box> boxes;
    std::swap(boxes, b.boxes);
    for (const Box& box : boxes) b.bytes -= land(box);
    if (!boxes.empty()) settle(b);
    if ((b.phase & 1) != parity) return;
    poll();
  }
}

void copy_box(void* to, const CUtensorMap* map, int value, int line, uint64_t* barrier) {
  Box box{static_cast<unsigned char*>(to), {}, value, line};
  std::memcpy(&box.map, map, sizeof box.map);
  if (box.map.mark != kMark) die("not a tensor map");
  std::memset(to, 0xff, size_t{box.map.box_width} * box.map.box_lines * 2);
  find(barrier).boxes.push_back(box);
}

namespace {
struct Request {
  float* d;
  Product product;
};
}  // namespace

void wgmma(float* d, int columns, uint64_t a, uint64_t b, bool transpose_a, bool transpose_b) {
  Request mine{d, {{}, columns, thread_of_block() / kWarpLanes, a, b, transpose_a, transpose_b}};
  warp_instruction(
      [](void* const* lanes) {
        Product p = static_cast<const Request*>(lanes[0])->product;
        for (int i = 0; i < kWarpLanes; ++i) {
          const auto* r = static_cast<const Request*>(lanes[i]);
          if (r->product.a != p.a || r->product.b != p.b) die("the lanes of a warp give a wgmma different operands");
          p.d[i] = r->d;
        }
        products[p.warp].open.push_back(p);
      },
      &mine);
}

void wgmma_fence() { warp_barrier(); }

void wgmma_close() {
  warp_barrier();
  if (lane() != 0) return warp_barrier();
  Products& mine = products[thread_of_block() / kWarpLanes];
  mine.closed.push_back(std::move(mine.open));
  mine.open.clear();
  warp_barrier();
}

void wgmma_wait(int left) {
  warp_barrier();
  if (lane() == 0) {
    auto& closed = products[thread_of_block() / kWarpLanes].closed;
    const size_t done = closed.size() - std::min(closed.size(), static_cast<size_t>(left));
    for (size_t i = 0; i < done; ++i)
      for (const Product& p : closed[i]) execute(p);
    closed.erase(closed.begin(), closed.begin() + static_cast<std::ptrdiff_t>(done));
  }
  warp_barrier();
}

void set_wgmma_bits(int bits) { wgmma_bits = bits; }

}  // namespace fulmen::emulation

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data,
                                const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* steps, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  const bool good = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 && rank == 2 &&
                    reinterpret_cast<uintptr_t>(map) % 64 == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0 &&
                    strides[0] % 16 == 0 && strides[0] < (uint64_t{1} << 40) && dims[0] > 0 && dims[1] > 0 &&
                    dims[0] <= (uint64_t{1} << 32) && dims[1] <= (uint64_t{1} << 32) && box[0] > 0 && box[1] > 0 &&
                    box[0] <= 256 && box[1] <= 256 && box[0] * 2 <= 128 && steps[0] == 1 && steps[1] == 1 &&
                    swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  if (!good) return CUDA_ERROR_INVALID_VALUE;
  const fulmen::emulation::TensorMap words{
      reinterpret_cast<uint64_t>(data), dims[0], dims[1], strides[0], box[0], box[1], fulmen::emulation::kMark};
  static_assert(sizeof words <= sizeof *map);
  std::memcpy(map, &words, sizeof words);
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  if (std::strcmp(symbol, "cuTensorMapEncodeTiled") != 0) return cudaErrorInvalidValue;
  *function = reinterpret_cast<void*>(&cuTensorMapEncodeTiled);
  *result = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}
