#pragma once
// Enough of the CUDA runtime to run kernels/cuda on a CPU, thread by thread: not a GPU, but the same source, the same
// indices, shared memory and barriers. Every thread of a block is a coroutine on its own stack; a barrier is where it
// yields. What it finds that a GPU would not: a thread that skips a barrier, warp instructions that not all lanes
// reach, shared memory read before it was written (it starts as NaN), races (run with threads in reverse order: the
// bits must be the same), host code that follows a pointer into device memory (that memory is locked outside kernels
// and copies), and under AddressSanitizer any access out of bounds.
//
// Streams are queues that run when the host waits, in the order that a test chooses (StreamOrder): work that needs
// another stream's without an event between them finds it undone, or done too soon.
//
// An asynchronous copy lands when it is waited for, and what it will overwrite turns to NaN when it is issued.
// Tensor cores follow the MMA-Sim model of Hopper (arXiv 2511.10909): products exact, one sum of 16 products and the
// accumulator, aligned to the largest exponent and truncated to 25 fractional bits.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __grid_constant__

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
struct uint2 {
  uint32_t x, y;
};
struct uint4 {
  uint32_t x, y, z, w;
};

// Of the thread that runs now.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace fulmen::emulation {

unsigned char* shared_bytes();
void block_barrier();
void warp_barrier();
// Lane `from(lane)` hands its value to lane `lane`; all lanes of the warp must come.
uint64_t exchange(uint64_t value, int from);
uint32_t ballot(bool predicate);
int lane();

// Tensor cores and asynchronous copies (kernels/cuda/device.cuh and tensor.cuh say what they do).
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void load_matrices(uint32_t (&r)[4], const void* row);
void load_matrices_transposed(uint32_t (&r)[4], const void* row);
float power_of_two(float x);
void copy_async(void* to, const void* from, int bytes);
void copies_close();
void copies_wait(int left);
template <int kLeft>
void copies_wait() {
  copies_wait(kLeft);
}

// Runs kernel() once for every thread of the grid.
void run_grid(dim3 grid, dim3 block, size_t shared, const std::function<void()>& kernel);

void set_reverse(bool reverse);  // threads in descending order, warps too
void set_idle(bool idle);        // kernels do nothing: what the host does for sizes that no CPU would finish

// Counters of what the runtime was asked for.
struct Counts {
  int allocations = 0, pinned_allocations = 0;  // cudaMalloc and cudaMallocHost
  int launches = 0;                             // of kernels, one by one
  int graph_launches = 0, graphs_built = 0;
  int waits_with_work_behind = 0;  // for an event, while later work was queued on its stream
  int stream_waits = 0;            // of a stream for an event
};
Counts& counts();

// When queued work runs. At once: when it is queued, whatever the stream. Otherwise when the host waits for it: the
// awaited stream first, and others only as its events want them; or all others first, as far as their events let them.
enum class StreamOrder { kAtOnce, kAwaitedFirst, kOthersFirst };  // or EMULATED_STREAMS=at_once and so on
void set_stream_order(StreamOrder order);
bool work_queued();
void finish_streams();  // runs everything, as cudaDeviceSynchronize

// The machine that cudaGetDeviceCount and the like describe; a test may change it, or EMULATED_DEVICES,
// EMULATED_DRIVER.
struct Devices {
  int count = 1, driver = 13000, runtime = 13000, major = 8, minor = 0;
};
Devices& devices();

template <class T>
T shuffle(T value, int from) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(bits, from);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace fulmen::emulation

inline void __syncthreads() { fulmen::emulation::block_barrier(); }
inline void __syncwarp(unsigned = 0xffffffffu) { fulmen::emulation::warp_barrier(); }
template <class T>
T __shfl_sync(unsigned, T v, int from) {
  return fulmen::emulation::shuffle(v, from & 31);
}
template <class T>
T __shfl_xor_sync(unsigned, T v, int mask) {
  return fulmen::emulation::shuffle(v, fulmen::emulation::lane() ^ mask);
}
template <class T>
T __shfl_down_sync(unsigned, T v, int delta) {
  const int from = fulmen::emulation::lane() + delta;
  return fulmen::emulation::shuffle(v, from < 32 ? from : fulmen::emulation::lane());
}
template <class T>
T __shfl_up_sync(unsigned, T v, int delta) {
  const int from = fulmen::emulation::lane() - delta;
  return fulmen::emulation::shuffle(v, from >= 0 ? from : fulmen::emulation::lane());
}
inline unsigned __ballot_sync(unsigned, bool p) { return fulmen::emulation::ballot(p); }
inline int __popc(unsigned x) { return std::popcount(x); }
template <class T, class U>
T atomicAdd(T* p, U v) {
  const T old = *p;
  *p = static_cast<T>(old + v);
  return old;
}

template <class T, class U>
T atomicMin(T* p, U v) {
  const T old = *p;
  if (v < old) *p = static_cast<T>(v);
  return old;
}

// ---- The host's side ------------------------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorNotReady = 600,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotSupported = 801,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorGraphExecUpdateFailure = 910
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
struct cudaGraphExecUpdateResultInfo {};
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor;
};
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);
cudaError_t cudaMallocHost(void** p, size_t bytes);
cudaError_t cudaFreeHost(void* p);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream);
// Memory of another process; its own a process is refused, as by CUDA. EMULATED_NO_IPC: a machine without.
struct cudaIpcMemHandle_t {
  char reserved[64];
};
constexpr unsigned cudaIpcMemLazyEnablePeerAccess = 1;
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* p);
cudaError_t cudaIpcOpenMemHandle(void** p, cudaIpcMemHandle_t handle, unsigned flags);
cudaError_t cudaIpcCloseMemHandle(void* p);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetPCIBusId(char* place, int size, int device);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);  // an error while recording, as on a GPU
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* info);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t stream);
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 227 * 1024, cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorMemoryAllocation           ? "out of memory"
         : e == cudaErrorInvalidDevice            ? "invalid device ordinal"
         : e == cudaErrorNotSupported             ? "operation not supported"
         : e == cudaErrorStreamCaptureUnsupported ? "operation not permitted when stream is capturing"
         : e == cudaErrorStreamCaptureUnjoined    ? "a captured stream was not joined to the one it came from"
                                                  : "invalid argument";
}
template <class F>
cudaError_t cudaFuncSetAttribute(F, cudaFuncAttribute, int bytes) {
  return bytes <= 227 * 1024 ? cudaSuccess : cudaErrorInvalidValue;
}
namespace fulmen::emulation {
// The work of a kernel, copy or memset. `what` tells kinds apart.
void queue(cudaStream_t stream, const void* what, std::function<void()> work);
}  // namespace fulmen::emulation
template <class... P>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* c, void (*kernel)(P...), P... arguments) {
  if (c->blockDim.x * c->blockDim.y * c->blockDim.z > 1024 || c->dynamicSmemBytes > 227 * 1024 ||
      c->gridDim.y > 65535 || c->gridDim.z > 65535)
    return cudaErrorInvalidValue;
  fulmen::emulation::queue(
      c->stream, reinterpret_cast<const void*>(kernel),
      [grid = c->gridDim, block = c->blockDim, shared = c->dynamicSmemBytes, kernel, arguments...] {
        ++fulmen::emulation::counts().launches;
        fulmen::emulation::run_grid(grid, block, shared, [&] { kernel(arguments...); });
      });
  return cudaSuccess;
}
