// Of the emulated runtime: devices, the one stream, and graphs. Recording keeps the work of a stream as a list of
// closures; launching a graph runs them in order.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "cuda_runtime.h"

struct CUgraph_st {
  struct Node {
    const void* what;
    std::function<void()> work;
  };
  std::vector<Node> nodes;
};
struct CUgraphExec_st {
  CUgraph_st graph;
};

namespace fulmen::emulation {
namespace {
CUgraph_st* recorded = nullptr;
}

Counts& counts() {
  static Counts c;
  return c;
}

Devices& devices() {
  static Devices d = [] {
    const auto number = [](const char* name, int otherwise) {
      const char* text = std::getenv(name);
      return text != nullptr ? std::atoi(text) : otherwise;
    };
    Devices from;
    from.count = number("EMULATED_DEVICES", from.count);
    from.driver = number("EMULATED_DRIVER", from.driver);
    return from;
  }();
  return d;
}

bool record(const void* what, std::function<void()> work) {
  if (recorded == nullptr) return work(), false;
  recorded->nodes.push_back({what, std::move(work)});
  return true;
}

}  // namespace fulmen::emulation

using fulmen::emulation::counts;
using fulmen::emulation::devices;
using fulmen::emulation::recorded;

cudaError_t cudaSetDevice(int device) { return device < devices().count ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = devices().count, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = devices().driver, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = devices().runtime, cudaSuccess; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device >= devices().count) return cudaErrorInvalidDevice;
  *p = {};
  std::snprintf(p->name, sizeof p->name, "Emulated GPU");
  p->totalGlobalMem = size_t{1} << 30;
  p->major = devices().major, p->minor = devices().minor;
  return cudaSuccess;
}

// What others queue on it (tests/shared/nccl_double.cc) they count here while it is under way.
static std::atomic<int> under_way{0};

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  *s = reinterpret_cast<cudaStream_t>(&under_way);
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t) { return under_way == 0 ? cudaSuccess : cudaErrorNotReady; }

cudaError_t cudaStreamSynchronize(cudaStream_t) {
  if (recorded != nullptr) return cudaErrorStreamCaptureUnsupported;
  while (under_way != 0) std::this_thread::yield();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  if (recorded != nullptr) return cudaErrorInvalidValue;
  recorded = new CUgraph_st;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = std::exchange(recorded, nullptr);
  return *graph != nullptr ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  ++counts().graphs_built;
  *exec = new CUgraphExec_st{*graph};
  return cudaSuccess;
}

// As a GPU's: the same kernels in the same order, with other grids and arguments.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo*) {
  const auto same = [](const CUgraph_st::Node& a, const CUgraph_st::Node& b) { return a.what == b.what; };
  const auto &a = exec->graph.nodes, &b = graph->nodes;
  if (!std::equal(a.begin(), a.end(), b.begin(), b.end(), same)) return cudaErrorGraphExecUpdateFailure;
  exec->graph = *graph;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  if (recorded != nullptr) return cudaErrorStreamCaptureUnsupported;
  ++counts().graph_launches;
  for (const auto& node : exec->graph.nodes) node.work();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return delete exec, cudaSuccess; }
