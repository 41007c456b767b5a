// Tensor cores and asynchronous copies of the emulation.

#include <algorithm>
#include <vector>

#include "cuda_runtime.h"
#include "instructions.h"

namespace fulmen::emulation {
namespace {

float bf16(uint32_t word, int half) { return std::bit_cast<float>(half == 0 ? word << 16 : word & 0xffff0000u); }

struct Mma {
  float* d;
  const uint32_t *a, *b;
};

void multiply(void* const* lanes) {
  float a[16][16], b[8][16];
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    const auto* m = static_cast<const Mma*>(lanes[lane]);
    for (int half = 0; half < 2; ++half) {
      a[g][2 * t + half] = bf16(m->a[0], half);
      a[g + 8][2 * t + half] = bf16(m->a[1], half);
      a[g][2 * t + 8 + half] = bf16(m->a[2], half);
      a[g + 8][2 * t + 8 + half] = bf16(m->a[3], half);
      b[g][2 * t + half] = bf16(m->b[0], half);
      b[g][2 * t + 8 + half] = bf16(m->b[1], half);
    }
  }
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      float& d = static_cast<const Mma*>(lanes[lane])->d[i];
      d = fused_sum(d, a[g + 8 * (i / 2)], b[2 * t + i % 2], 25);
    }
  }
}

struct MatrixLoad {
  const uint16_t* row;
  uint32_t* result;
};

template <bool kTransposed>
void gather(void* const* lanes) {
  for (int lane = 0; lane < kWarpLanes; ++lane)
    for (int i = 0; i < 4; ++i) {
      const auto element = [&](int row, int column) {
        return static_cast<const MatrixLoad*>(lanes[8 * i + row])->row[column];
      };
      const int g = lane / 4, t = lane % 4;
      const uint32_t low = kTransposed ? element(2 * t, g) : element(g, 2 * t);
      const uint32_t high = kTransposed ? element(2 * t + 1, g) : element(g, 2 * t + 1);
      static_cast<const MatrixLoad*>(lanes[lane])->result[i] = low | high << 16;
    }
}

template <bool kTransposed>
void load(uint32_t* r, const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) die("a row of a matrix in shared memory is not aligned");
  MatrixLoad mine{static_cast<const uint16_t*>(row), r};
  warp_instruction(gather<kTransposed>, &mine);
}

struct Copy {
  void* to;
  const void* from;
  int bytes;
};
struct Copies {  // of a thread
  std::vector<Copy> open;
  std::vector<std::vector<Copy>> closed;
};
std::vector<Copies> copies;

}  // namespace

float fused_sum(float c, const float* a, const float* b, int bits) {
  double products[16];
  int exponent = -10000;
  for (int i = 0; i < 16; ++i) {
    products[i] = static_cast<double>(a[i]) * static_cast<double>(b[i]);
    const auto field = static_cast<int>(std::bit_cast<uint64_t>(products[i]) >> 52 & 0x7ff);
    if (field == 0x7ff) return static_cast<float>(products[i] + c);
    if (field != 0) exponent = std::max(exponent, field - 1023);  // products of bf16 are normal doubles
  }
  if (!std::isfinite(c)) return c;
  if (c != 0) exponent = std::max(exponent, std::ilogb(static_cast<double>(c)));
  if (exponent == -10000) return 0;
  const double scale = std::ldexp(1.0, bits - exponent);  // a power of two: exact
  int64_t sum = static_cast<int64_t>(static_cast<double>(c) * scale);
  for (const double p : products) sum += static_cast<int64_t>(p * scale);
  const double exact = std::ldexp(static_cast<double>(sum), exponent - bits);
  float rounded = static_cast<float>(exact);
  if (std::fabs(static_cast<double>(rounded)) > std::fabs(exact)) rounded = std::nextafter(rounded, 0.0f);
  return rounded;
}

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Mma mine{d, a, b};
  warp_instruction(multiply, &mine);
}

void load_matrices(uint32_t (&r)[4], const void* row) { load<false>(r, row); }
void load_matrices_transposed(uint32_t (&r)[4], const void* row) { load<true>(r, row); }

float power_of_two(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0 : y;  // flushed
}

void begin_copies(int threads) { copies.assign(static_cast<size_t>(threads), {}); }

void copy_async(void* to, const void* from, int bytes) {
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || (bytes > 0 && reinterpret_cast<uintptr_t>(from) % 16 != 0))
    die("an asynchronous copy is not aligned");
  std::memset(to, 0xff, 16);
  copies[static_cast<size_t>(thread_of_block())].open.push_back({to, from, bytes});
}

void copies_close() {
  Copies& mine = copies[static_cast<size_t>(thread_of_block())];
  mine.closed.push_back(std::move(mine.open));
  mine.open.clear();
}

void copies_wait(int left) {
  auto& closed = copies[static_cast<size_t>(thread_of_block())].closed;
  const size_t landed = closed.size() - std::min(closed.size(), static_cast<size_t>(left));
  for (size_t i = 0; i < landed; ++i)
    for (const Copy& c : closed[i]) {
      std::memset(c.to, 0, 16);
      std::memcpy(c.to, c.from, static_cast<size_t>(c.bytes));
    }
  closed.erase(closed.begin(), closed.begin() + static_cast<std::ptrdiff_t>(landed));
}

}  // namespace fulmen::emulation
