#pragma once
// Where a kernel runs. A role makes one Context and passes it to every call; a kernel keeps no state of its own.
//
// The seam for other devices (DESIGN section 6): every kernel is reached through the function table of its Context. The
// CPU table is linked in; libfulmen_cuda.so hands over another one of the same version at run time. Nothing else
// chooses a device, and no #if does.

#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace fulmen::kernels {

struct KernelTable;  // kernels/table.h

struct Context {
  const KernelTable* table = nullptr;  // which device
  ThreadPool* pool = nullptr;          // CPU: workers and their scratch; not owned
  void* device = nullptr;              // CUDA: stream, staging and scratch of the backend (kernels/device.h owns it)
};

// A context on the CPU of this machine: AVX-512 or AVX2 chosen at run time (same bits on both). `pool` must outlive it.
// Throws Error naming the missing instruction set on a processor without AVX2 and FMA.
// isa: "auto", "avx2" or "avx512" (tests force one).
Context cpu_context(ThreadPool& pool, const char* isa = "auto");

}  // namespace fulmen::kernels
