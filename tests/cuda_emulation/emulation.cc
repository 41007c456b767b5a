#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "instructions.h"

namespace fulmen::emulation {
namespace {

constexpr size_t kStackBytes = size_t{128} << 10;

}  // namespace

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "cuda emulation: %s (block %u %u %u, thread %u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z,
               threadIdx.x);
  std::abort();
}

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

enum class Wait { kNone, kWarp, kBlock, kPoll, kDone };

struct Fiber {
  void* stack_pointer = nullptr;
  Wait wait = Wait::kNone;
};

// A warp instruction is complete when all lanes have come with their arguments.
struct WarpState {
  WarpInstruction instruction = nullptr;
  int arrived = 0;
  void* lane[kWarpLanes];
};

struct Machine {
  std::vector<Fiber> fibers;
  std::vector<WarpState> warps;
  void* scheduler = nullptr;  // its stack pointer while a fiber runs
  int current = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<unsigned char> shared_storage;
  unsigned char* shared = nullptr;
  bool reverse = false, idle = false;
  bool progress = false;  // has a thread come further than to poll again?
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

// Runs the lanes of a warp until each waits for the block or is done.
void run_warp(int first, int count) {
  for (bool again = true;; again = false) {
    int at_warp = 0, polling = 0;
    for (int k = 0; k < count; ++k) {
      const int i = first + (machine.reverse ? count - 1 - k : k);
      Fiber& f = machine.fibers[static_cast<size_t>(i)];
      const bool polled = f.wait == Wait::kPoll;
      if (f.wait == Wait::kNone || (polled && again)) {
        resume(i);
        machine.progress |= !polled || f.wait != Wait::kPoll;
      }
      at_warp += f.wait == Wait::kWarp;
      polling += f.wait == Wait::kPoll;
    }
    if (at_warp == 0 || polling > 0) return;
    if (at_warp != count || count != kWarpLanes) die("not all lanes of a warp came to a warp instruction");
    WarpState& w = machine.warps[static_cast<size_t>(first / kWarpLanes)];
    if (w.instruction != nullptr) w.instruction(w.lane);
    w.arrived = 0;
    for (int i = first; i < first + count; ++i) machine.fibers[static_cast<size_t>(i)].wait = Wait::kNone;
  }
}

void run_block(int threads) {
  for (int i = 0; i < threads; ++i) start(i);
  const int warps = (threads + kWarpLanes - 1) / kWarpLanes;
  begin_copies(threads);
  begin_hopper();
  for (;;) {
    machine.progress = false;
    for (int k = 0; k < warps; ++k) {
      const int w = machine.reverse ? warps - 1 - k : k;
      run_warp(w * kWarpLanes, std::min(kWarpLanes, threads - w * kWarpLanes));
    }
    int waiting = 0, done = 0;
    for (const Fiber& f : machine.fibers) waiting += f.wait == Wait::kBlock, done += f.wait == Wait::kDone;
    if (done == threads) return;
    if (waiting + done < threads) {  // some poll
      if (!machine.progress) die("threads wait for what no other thread will do");
      continue;
    }
    if (waiting != threads) die("some threads of a block left while others wait at a barrier");
    for (Fiber& f : machine.fibers) f.wait = Wait::kNone;
  }
}

// Device memory is one region, locked while no kernel and no copy runs; a file in memory, so that another process can
// map a part of it.
constexpr size_t kArenaBytes = size_t{1} << 30;
int memory_file() {
  const int fd = memfd_create("emulated GPU", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(kArenaBytes)) != 0) die("no memory for a device");
  return fd;
}
struct Arena {
  int file = memory_file();
  char* base = static_cast<char*>(mmap(nullptr, kArenaBytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0));
  size_t end = 0;
  std::map<char*, size_t> used;
  std::multimap<size_t, char*> free;
  int open = 0;
};
Arena& arena() {
  static Arena a;
  return a;
}

// EMULATED_OPEN: device memory is never locked, for a library that reads it from threads of its own (an NCCL double).
struct Open {
  Open() {
    static const bool always = std::getenv("EMULATED_OPEN") != nullptr;
    if (always && arena().open == 0) arena().open = 1, mprotect(arena().base, kArenaBytes, PROT_READ | PROT_WRITE);
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

void warp_instruction(WarpInstruction instruction, void* mine) {
  WarpState& w = my_warp();
  if (w.arrived == 0) w.instruction = instruction;
  if (w.instruction != instruction) die("the lanes of a warp came to different warp instructions");
  w.lane[lane()] = mine;
  ++w.arrived;
  yield(Wait::kWarp);
}

void warp_barrier() { warp_instruction(nullptr, nullptr); }

namespace {
struct Exchange {
  uint64_t value;
  int from;
  uint64_t result;
};
}  // namespace

uint64_t exchange(uint64_t value, int from) {
  Exchange mine{value, from, 0};
  warp_instruction(
      [](void* const* lanes) {
        for (int i = 0; i < kWarpLanes; ++i) {
          auto* e = static_cast<Exchange*>(lanes[i]);
          e->result = static_cast<const Exchange*>(lanes[e->from])->value;
        }
      },
      &mine);
  return mine.result;
}

uint32_t ballot(bool predicate) {
  uint64_t bits = predicate;
  warp_instruction(
      [](void* const* lanes) {
        uint64_t all = 0;
        for (int i = 0; i < kWarpLanes; ++i) all |= *static_cast<const uint64_t*>(lanes[i]) << i;
        for (int i = 0; i < kWarpLanes; ++i) *static_cast<uint64_t*>(lanes[i]) = all;
      },
      &bits);
  return static_cast<uint32_t>(bits);
}

void poll() { yield(Wait::kPoll); }

int thread_of_block() { return machine.current; }

void run_grid(dim3 grid, dim3 block, size_t shared, const std::function<void()>& kernel) {
  if (machine.idle) return;
  const Open open;
  blockDim = block, gridDim = grid;
  const int threads = static_cast<int>(block.x * block.y * block.z);
  machine.fibers.assign(static_cast<size_t>(threads), {});
  machine.warps.assign(static_cast<size_t>((threads + kWarpLanes - 1) / kWarpLanes), {});
  machine.kernel = &kernel;
  void* at = nullptr;  // exactly as long as asked for, so that AddressSanitizer sees what lies beyond
  if (posix_memalign(&at, 1024, std::max(shared, size_t{1})) != 0) die("no memory for the shared memory of a block");
  const std::unique_ptr<void, decltype(&std::free)> memory(at, &std::free);
  machine.shared = static_cast<unsigned char*>(at);
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        std::memset(machine.shared, 0xff, shared);
        blockIdx = {x, y, z};
        run_block(threads);
      }
}

void set_reverse(bool reverse) { machine.reverse = reverse; }
void set_idle(bool idle) { machine.idle = idle; }

}  // namespace fulmen::emulation

using fulmen::emulation::arena;
using fulmen::emulation::Open;

cudaError_t cudaMalloc(void** p, size_t bytes) {
  ++fulmen::emulation::counts().allocations;
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
  fulmen::emulation::finish_streams();
  auto& a = arena();
  const auto it = a.used.find(static_cast<char*>(p));
  if (it == a.used.end()) return cudaErrorInvalidValue;
  a.free.emplace(it->second, it->first);
  a.used.erase(it);
  return cudaSuccess;
}

namespace {
struct Shared {
  pid_t process;
  int file;
  size_t at, bytes;
};
std::map<void*, size_t> opened;
}  // namespace

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* p) {
  if (std::getenv("EMULATED_NO_IPC") != nullptr) return cudaErrorNotSupported;
  const auto it = arena().used.find(static_cast<char*>(p));
  if (it == arena().used.end()) return cudaErrorInvalidValue;
  const Shared s{getpid(), arena().file, static_cast<size_t>(it->first - arena().base), it->second};
  *handle = {};
  std::memcpy(handle->reserved, &s, sizeof s);
  return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void** p, cudaIpcMemHandle_t handle, unsigned) {
  Shared s{};
  std::memcpy(&s, handle.reserved, sizeof s);
  if (s.process == getpid()) return cudaErrorInvalidValue;
  const std::string path = "/proc/" + std::to_string(s.process) + "/fd/" + std::to_string(s.file);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return cudaErrorInvalidValue;
  *p = mmap(nullptr, s.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(s.at));
  ::close(fd);
  if (*p == MAP_FAILED) return cudaErrorInvalidValue;
  opened[*p] = s.bytes;
  return cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void* p) {
  fulmen::emulation::finish_streams();
  const auto it = opened.find(p);
  if (it == opened.end()) return cudaErrorInvalidValue;
  munmap(p, it->second);
  opened.erase(it);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  ++fulmen::emulation::counts().pinned_allocations;
  *p = std::malloc(bytes);
  return *p != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void* p) {
  if (p != nullptr && fulmen::emulation::work_queued())
    fulmen::emulation::die("pinned memory is freed under queued work");
  std::free(p);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  static const char copy = 0;
  fulmen::emulation::queue(stream, &copy, [=] {
    const Open open;
    std::memcpy(to, from, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  static const char set = 0;
  fulmen::emulation::queue(stream, &set, [=] {
    const Open open;
    std::memset(p, value, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = fulmen::emulation::kArenaBytes;
  *free = *total;
  for (const auto& [at, bytes] : arena().used) *free -= bytes;
  return cudaSuccess;
}
