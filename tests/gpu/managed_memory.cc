// Every operator new of gpu_test gives memory that host and device share: managed, or where a machine has no managed
// memory that both may touch at once, the host's pinned memory, which has one address on both sides.

#include <cuda_runtime.h>

#include <cstdlib>
#include <new>

// Kernels of a test take pointers into std::vector; small things of the runtime before main stay on the heap.
namespace {
constexpr size_t kHeader = 256;
enum : size_t { kHeap = 1, kManaged = 2, kPinned = 3 };
size_t sharing = kHeap;

cudaError_t take(void** p, size_t bytes) {
  return sharing == kManaged ? cudaMallocManaged(p, bytes) : cudaHostAlloc(p, bytes, cudaHostAllocMapped);
}
}  // namespace

void share_memory_with_the_device() {
  int concurrent = 0;
  cudaDeviceGetAttribute(&concurrent, cudaDevAttrConcurrentManagedAccess, 0);
  sharing = concurrent != 0 ? kManaged : kPinned;
}

void* operator new(size_t bytes) {
  void* p = nullptr;
  size_t kind = kHeap;
  if (sharing != kHeap && take(&p, bytes + kHeader) == cudaSuccess)
    kind = sharing;
  else
    p = std::aligned_alloc(kHeader, (bytes + 2 * kHeader - 1) / kHeader * kHeader);
  if (p == nullptr) throw std::bad_alloc();
  *static_cast<size_t*>(p) = kind;
  return static_cast<char*>(p) + kHeader;
}

void operator delete(void* p) noexcept {
  if (p == nullptr) return;
  void* start = static_cast<char*>(p) - kHeader;
  switch (*static_cast<size_t*>(start)) {
    case kManaged:
      cudaFree(start);
      break;
    case kPinned:
      cudaFreeHost(start);
      break;
    default:
      std::free(start);
  }
}
void operator delete(void* p, size_t) noexcept { operator delete(p); }
