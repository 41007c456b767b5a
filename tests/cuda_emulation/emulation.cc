#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "cuda_runtime.h"

namespace fulmen::emulation {
namespace {

constexpr size_t kStackBytes = size_t{128} << 10;
constexpr int kWarpLanes = 32;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "cuda emulation: %s (block %u %u %u, thread %u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z,
               threadIdx.x);
  std::abort();
}

}  // namespace

// Saves the callee-saved registers on the stack, its pointer at *save, and goes on at the stack `next`.
extern "C" void fulmen_emulation_switch(void** save, void* next);
asm(R"(
.text
.globl fulmen_emulation_switch
.type fulmen_emulation_switch, @function
fulmen_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fulmen_emulation_switch, .-fulmen_emulation_switch
)");

namespace {

enum class Wait { kNone, kWarp, kBlock, kDone };

struct Fiber {
  void* stack_pointer = nullptr;
  Wait wait = Wait::kNone;
};

struct Mma {
  float* d;
  const uint32_t *a, *b;
};

// A warp instruction that is complete when all lanes have come.
enum class Operation { kNone, kExchange, kMma };

struct WarpState {
  Operation operation = Operation::kNone;
  uint64_t value[kWarpLanes];
  int from[kWarpLanes];
  uint64_t result[kWarpLanes];
  Mma mma[kWarpLanes];
};

struct Machine {
  std::vector<Fiber> fibers;
  std::vector<WarpState> warps;
  void* scheduler = nullptr;  // its stack pointer while a fiber runs
  int current = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<unsigned char> shared_storage;
  unsigned char* shared = nullptr;
  bool reverse = false;
};
Machine machine;

char* stack_of(int i) {
  static std::vector<char*> stacks;
  while (static_cast<int>(stacks.size()) <= i) {
    void* p = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) die("no memory for a thread's stack");
    stacks.push_back(static_cast<char*>(p));
  }
  return stacks[static_cast<size_t>(i)];
}

void yield(Wait why) {
  Fiber& f = machine.fibers[static_cast<size_t>(machine.current)];
  f.wait = why;
  fulmen_emulation_switch(&f.stack_pointer, machine.scheduler);
}

void fiber_main() {
  (*machine.kernel)();
  yield(Wait::kDone);
  die("a finished thread was resumed");
}

void start(int i) {
  auto** top = reinterpret_cast<void**>(stack_of(i) + kStackBytes) - 2;
  *top = reinterpret_cast<void*>(&fiber_main);
  for (int r = 1; r <= 6; ++r) top[-r] = nullptr;
  machine.fibers[static_cast<size_t>(i)] = {top - 6, Wait::kNone};
}

void resume(int i) {
  machine.current = i;
  const unsigned x = blockDim.x, y = blockDim.y, n = static_cast<unsigned>(i);
  threadIdx = {n % x, n / x % y, n / x / y};
  Fiber& f = machine.fibers[static_cast<size_t>(i)];
  fulmen_emulation_switch(&machine.scheduler, f.stack_pointer);
}

WarpState& my_warp() { return machine.warps[static_cast<size_t>(machine.current / kWarpLanes)]; }

float bf16(uint32_t word, int half) { return std::bit_cast<float>(half == 0 ? word << 16 : word & 0xffff0000u); }

// One fused sum of 16 products and the accumulator.
float fused_sum(float c, const float* a, const float* b) {
  double products[16];
  int exponent = -10000;
  for (int i = 0; i < 16; ++i) {
    products[i] = static_cast<double>(a[i]) * static_cast<double>(b[i]);
    if (!std::isfinite(products[i])) return static_cast<float>(products[i] + c);
    if (products[i] != 0) exponent = std::max(exponent, std::ilogb(products[i]));
  }
  if (!std::isfinite(c)) return c;
  if (c != 0) exponent = std::max(exponent, std::ilogb(static_cast<double>(c)));
  if (exponent == -10000) return 0;
  const double unit = std::ldexp(1.0, exponent - 25);
  int64_t sum = static_cast<int64_t>(static_cast<double>(c) / unit);
  for (const double p : products) sum += static_cast<int64_t>(p / unit);
  const double exact = static_cast<double>(sum) * unit;
  float rounded = static_cast<float>(exact);
  if (std::fabs(static_cast<double>(rounded)) > std::fabs(exact)) rounded = std::nextafter(rounded, 0.0f);
  return rounded;
}

void multiply(const WarpState& w) {
  float a[16][16], b[8][16];
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int half = 0; half < 2; ++half) {
      const uint32_t *wa = w.mma[lane].a, *wb = w.mma[lane].b;
      a[g][2 * t + half] = bf16(wa[0], half);
      a[g + 8][2 * t + half] = bf16(wa[1], half);
      a[g][2 * t + 8 + half] = bf16(wa[2], half);
      a[g + 8][2 * t + 8 + half] = bf16(wa[3], half);
      b[g][2 * t + half] = bf16(wb[0], half);
      b[g][2 * t + 8 + half] = bf16(wb[1], half);
    }
  }
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      float& d = w.mma[lane].d[i];
      d = fused_sum(d, a[g + 8 * (i / 2)], b[2 * t + i % 2]);
    }
  }
}

void complete(WarpState& w) {
  if (w.operation == Operation::kExchange)
    for (int i = 0; i < kWarpLanes; ++i) w.result[i] = w.value[w.from[i]];
  if (w.operation == Operation::kMma) multiply(w);
  w.operation = Operation::kNone;
}

// Runs the lanes of a warp until each waits for the block or is done.
void run_warp(int first, int count) {
  for (;;) {
    int at_warp = 0;
    for (int k = 0; k < count; ++k) {
      const int i = first + (machine.reverse ? count - 1 - k : k);
      Fiber& f = machine.fibers[static_cast<size_t>(i)];
      if (f.wait == Wait::kNone) resume(i);
      at_warp += f.wait == Wait::kWarp;
    }
    if (at_warp == 0) return;
    if (at_warp != count || count != kWarpLanes) die("not all lanes of a warp came to a warp instruction");
    complete(machine.warps[static_cast<size_t>(first / kWarpLanes)]);
    for (int i = first; i < first + count; ++i) machine.fibers[static_cast<size_t>(i)].wait = Wait::kNone;
  }
}

void run_block(int threads) {
  for (int i = 0; i < threads; ++i) start(i);
  const int warps = (threads + kWarpLanes - 1) / kWarpLanes;
  for (;;) {
    for (int k = 0; k < warps; ++k) {
      const int w = machine.reverse ? warps - 1 - k : k;
      run_warp(w * kWarpLanes, std::min(kWarpLanes, threads - w * kWarpLanes));
    }
    int waiting = 0, done = 0;
    for (const Fiber& f : machine.fibers) waiting += f.wait == Wait::kBlock, done += f.wait == Wait::kDone;
    if (done == threads) return;
    if (waiting != threads) die("some threads of a block left while others wait at a barrier");
    for (Fiber& f : machine.fibers) f.wait = Wait::kNone;
  }
}

// Device memory is one region, locked while no kernel and no copy runs.
constexpr size_t kArenaBytes = size_t{1} << 30;
struct Arena {
  char* base =
      static_cast<char*>(mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  size_t end = 0;
  std::map<char*, size_t> used;
  std::multimap<size_t, char*> free;
  int open = 0;
};
Arena& arena() {
  static Arena a;
  return a;
}

struct Open {
  Open() {
    if (arena().open++ == 0 && arena().end > 0) mprotect(arena().base, arena().end, PROT_READ | PROT_WRITE);
  }
  ~Open() {
    if (--arena().open == 0 && arena().end > 0) mprotect(arena().base, arena().end, PROT_NONE);
  }
};

}  // namespace

unsigned char* shared_bytes() { return machine.shared; }
int lane() { return machine.current % kWarpLanes; }
void block_barrier() { yield(Wait::kBlock); }
void warp_barrier() { yield(Wait::kWarp); }

uint64_t exchange(uint64_t value, int from) {
  WarpState& w = my_warp();
  const int me = lane();
  w.operation = Operation::kExchange;
  w.value[me] = value;
  w.from[me] = from;
  yield(Wait::kWarp);
  return w.result[me];
}

uint32_t ballot(bool predicate) {
  const int me = lane();
  WarpState& w = my_warp();
  w.operation = Operation::kExchange;
  w.value[me] = predicate;
  w.from[me] = me;
  yield(Wait::kWarp);
  uint32_t bits = 0;
  for (int i = 0; i < kWarpLanes; ++i) bits |= static_cast<uint32_t>(w.result[i]) << i;
  return bits;
}

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  WarpState& w = my_warp();
  w.operation = Operation::kMma;
  w.mma[lane()] = {d, a, b};
  yield(Wait::kWarp);
}

void run_grid(dim3 grid, dim3 block, size_t shared, const std::function<void()>& kernel) {
  const Open open;
  blockDim = block, gridDim = grid;
  const int threads = static_cast<int>(block.x * block.y * block.z);
  machine.fibers.assign(static_cast<size_t>(threads), {});
  machine.warps.assign(static_cast<size_t>((threads + kWarpLanes - 1) / kWarpLanes), {});
  machine.kernel = &kernel;
  std::unique_ptr<unsigned char[]> memory(new unsigned char[shared + 128]);
  machine.shared = memory.get() + (128 - reinterpret_cast<uintptr_t>(memory.get()) % 128) % 128;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        std::memset(machine.shared, 0xff, shared);
        blockIdx = {x, y, z};
        run_block(threads);
      }
}

void set_reverse(bool reverse) { machine.reverse = reverse; }

}  // namespace fulmen::emulation

using fulmen::emulation::arena;
using fulmen::emulation::Open;

cudaError_t cudaMalloc(void** p, size_t bytes) {
  auto& a = arena();
  const size_t need = (std::max(bytes, size_t{1}) + 4095) / 4096 * 4096;
  const auto it = a.free.find(need);
  char* at = nullptr;
  if (it != a.free.end()) {
    at = it->second;
    a.free.erase(it);
  } else {
    if (a.end + need > fulmen::emulation::kArenaBytes) return cudaErrorMemoryAllocation;
    at = a.base + a.end;
    a.end += need;
  }
  a.used[at] = need;
  const Open open;
  std::memset(at, 0xff, std::min(need, size_t{1} << 20));  // NaN until written; locking many touched pages is slow
  *p = at;
  return cudaSuccess;
}

cudaError_t cudaFree(void* p) {
  if (p == nullptr) return cudaSuccess;
  auto& a = arena();
  const auto it = a.used.find(static_cast<char*>(p));
  if (it == a.used.end()) return cudaErrorInvalidValue;
  a.free.emplace(it->second, it->first);
  a.used.erase(it);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  *p = std::malloc(bytes);
  return *p != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void* p) {
  std::free(p);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  const Open open;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t) {
  const Open open;
  std::memset(p, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = fulmen::emulation::kArenaBytes;
  *free = *total - arena().end;
  return cudaSuccess;
}
