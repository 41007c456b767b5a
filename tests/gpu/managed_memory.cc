// Every operator new of gpu_test gives memory that host and device share.

#include <cuda_runtime.h>

#include <cstdlib>
#include <new>

// Kernels of a test take pointers into std::vector; small things of the runtime before main stay on the heap.
namespace {
constexpr size_t kHeader = 256;
enum : size_t { kHeap = 1, kManaged = 2 };
bool managed = false;
}  // namespace

void share_memory_with_the_device() { managed = true; }

void* operator new(size_t bytes) {
  void* p = nullptr;
  size_t kind = kHeap;
  if (managed && cudaMallocManaged(&p, bytes + kHeader) == cudaSuccess)
    kind = kManaged;
  else
    p = std::aligned_alloc(kHeader, (bytes + 2 * kHeader - 1) / kHeader * kHeader);
  if (p == nullptr) throw std::bad_alloc();
  *static_cast<size_t*>(p) = kind;
  return static_cast<char*>(p) + kHeader;
}

void operator delete(void* p) noexcept {
  if (p == nullptr) return;
  void* start = static_cast<char*>(p) - kHeader;
  *static_cast<size_t*>(start) == kManaged ? void(cudaFree(start)) : std::free(start);
}
void operator delete(void* p, size_t) noexcept { operator delete(p); }
