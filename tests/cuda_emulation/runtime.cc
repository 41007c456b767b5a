// Of the emulated runtime: devices, streams and events, graphs. Recording keeps the work of the streams as a list of
// closures; launching a graph puts them on streams again.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "cuda_runtime.h"
#include "instructions.h"

namespace fulmen::emulation {
namespace {

struct Mark {  // one recording of an event
  bool reached = false;
};
using MarkRef = std::shared_ptr<Mark>;

// `work`, or with a mark: to reach it, or to wait for it.
struct Task {
  const void* what;  // tells kinds apart
  std::function<void()> work;
  MarkRef mark;
};
const char kReach = 0, kWait = 0;

}  // namespace
}  // namespace fulmen::emulation

struct CUstream_st {
  std::atomic<int> under_way{0};  // first: what others queue (tests/shared/nccl_double.cc) they count here meanwhile
  std::deque<fulmen::emulation::Task> queue;
  CUgraph_st* graph = nullptr;  // that records it
  int line = 0;                 // in that graph; 0 is where the recording began
  bool branch = false;          // of a launched graph: gone when its work is done
};
struct CUevent_st {
  fulmen::emulation::MarkRef mark;
  CUgraph_st* graph = nullptr;  // in which it was recorded
};
struct CUgraph_st {
  struct Node {
    int line;
    fulmen::emulation::Task task;
  };
  std::vector<Node> nodes;
  std::vector<CUstream_st*> lines;
};
struct CUgraphExec_st {
  CUgraph_st graph;
};

namespace fulmen::emulation {
namespace {

StreamOrder order = [] {
  const char* text = std::getenv("EMULATED_STREAMS");
  if (text == nullptr || std::strcmp(text, "at_once") == 0) return StreamOrder::kAtOnce;
  if (std::strcmp(text, "awaited_first") == 0) return StreamOrder::kAwaitedFirst;
  if (std::strcmp(text, "others_first") == 0) return StreamOrder::kOthersFirst;
  die("EMULATED_STREAMS: want at_once, awaited_first or others_first");
}();
std::list<CUstream_st> streams;  // branches of graphs among them
CUgraph_st* recorded = nullptr;  // one recording at a time

void perform(Task& t) {
  if (t.what == &kReach)
    t.mark->reached = true;
  else if (t.what != &kWait)
    t.work();
}

void add(CUstream_st& s, Task t) {
  if (s.graph != nullptr)
    s.graph->nodes.push_back({s.line, std::move(t)});
  else if (order == StreamOrder::kAtOnce)
    perform(t);
  else
    s.queue.push_back(std::move(t));
}

// False when there is nothing to do, or it waits for another stream.
bool advance(CUstream_st& s) {
  if (s.queue.empty() || (s.queue.front().what == &kWait && !s.queue.front().mark->reached)) return false;
  Task t = std::move(s.queue.front());
  s.queue.pop_front();
  perform(t);
  return true;
}

bool advance_others(const CUstream_st& but) {
  return std::any_of(streams.begin(), streams.end(), [&](CUstream_st& s) { return &s != &but && advance(s); });
}

template <class Done>
void run(CUstream_st& s, const Done& done) {
  while (!done()) {
    while (order == StreamOrder::kOthersFirst && advance_others(s)) continue;
    if (!advance(s) && !advance_others(s)) die("a stream waits for an event that nothing reaches");
  }
}

void run_all() {
  for (CUstream_st& s : streams) run(s, [&s] { return s.queue.empty(); });
}

bool holds(const CUstream_st& s, const MarkRef& mark) {
  return std::any_of(s.queue.begin(), s.queue.end(),
                     [&](const Task& t) { return t.what == &kReach && t.mark == mark; });
}

// As a GPU's driver wants it: whatever left the first line has come back.
bool joined(const CUgraph_st& g) {
  for (size_t line = 1; line < g.lines.size(); ++line) {
    const auto last =
        std::find_if(g.nodes.rbegin(), g.nodes.rend(), [&](const auto& n) { return n.line == static_cast<int>(line); });
    if (last == g.nodes.rend() || last->task.what == &kWait) continue;
    const bool awaited = last->task.what == &kReach && std::any_of(g.nodes.begin(), g.nodes.end(), [&](const auto& n) {
                           return n.task.what == &kWait && n.task.mark == last->task.mark;
                         });
    if (!awaited) return false;
  }
  return true;
}

}  // namespace

Counts& counts() {
  static Counts c;
  return c;
}

void set_stream_order(StreamOrder wanted) {
  run_all();
  order = wanted;
}

bool work_queued() {
  return std::any_of(streams.begin(), streams.end(), [](const CUstream_st& s) { return !s.queue.empty(); });
}

void finish_streams() { run_all(); }

void queue(cudaStream_t stream, const void* what, std::function<void()> work) {
  add(*stream, {what, std::move(work), nullptr});
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

}  // namespace fulmen::emulation

using namespace fulmen::emulation;

static int current_device = 0;
cudaError_t cudaSetDevice(int device) {
  if (device >= devices().count) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) { return *device = current_device, cudaSuccess; }
cudaError_t cudaDeviceGetPCIBusId(char* place, int size, int device) {
  std::snprintf(place, static_cast<size_t>(size), "0000:%02x:00.0", device);
  return cudaSuccess;
}
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

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  *s = &streams.emplace_back();
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  run(*stream, [stream] { return stream->queue.empty(); });
  streams.remove_if([stream](const CUstream_st& s) { return &s == stream; });
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (stream->under_way == 0 && stream->queue.empty()) return cudaSuccess;
  run(*stream, [stream] { return stream->queue.empty(); });  // by the time it is asked again
  return cudaErrorNotReady;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream->graph != nullptr) return cudaErrorStreamCaptureUnsupported;
  run(*stream, [stream] { return stream->queue.empty(); });
  while (stream->under_way != 0) std::this_thread::yield();
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return *event = new CUevent_st, cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->mark = std::make_shared<Mark>();
  event->graph = stream->graph;
  add(*stream, {&kReach, {}, event->mark});
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  ++counts().stream_waits;
  if (event->mark == nullptr) return cudaSuccess;
  if (event->graph != nullptr && stream->graph == nullptr) {  // the stream joins the recording
    stream->graph = event->graph;
    stream->line = static_cast<int>(event->graph->lines.size());
    event->graph->lines.push_back(stream);
  }
  if (event->graph != stream->graph) return cudaErrorStreamCaptureUnsupported;
  add(*stream, {&kWait, {}, event->mark});
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->graph != nullptr) return cudaErrorStreamCaptureUnsupported;
  if (event->mark == nullptr || event->mark->reached) return cudaSuccess;
  const auto on = std::find_if(streams.begin(), streams.end(), [&](const auto& s) { return holds(s, event->mark); });
  run(*on, [&] { return event->mark->reached; });
  if (!on->queue.empty()) ++counts().waits_with_work_behind;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (recorded != nullptr) return cudaErrorInvalidValue;
  stream->graph = recorded = new CUgraph_st;
  stream->line = 0;
  recorded->lines.push_back(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = std::exchange(recorded, nullptr);
  if (*graph == nullptr || stream->graph != *graph) return cudaErrorInvalidValue;
  for (CUstream_st* s : (*graph)->lines) s->graph = nullptr;
  if (joined(**graph)) return cudaSuccess;
  delete std::exchange(*graph, nullptr);
  return cudaErrorStreamCaptureUnjoined;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  ++counts().graphs_built;
  *exec = new CUgraphExec_st{*graph};
  return cudaSuccess;
}

// As a GPU's: the same kernels in the same order, with other grids and arguments.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo*) {
  const auto same = [](const CUgraph_st::Node& a, const CUgraph_st::Node& b) {
    return a.task.what == b.task.what && a.line == b.line;
  };
  const auto &a = exec->graph.nodes, &b = graph->nodes;
  if (!std::equal(a.begin(), a.end(), b.begin(), b.end(), same)) return cudaErrorGraphExecUpdateFailure;
  exec->graph = *graph;
  return cudaSuccess;
}

// The first line goes to the stream, each other to one of its own; events are new in every launch.
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (recorded != nullptr) return cudaErrorStreamCaptureUnsupported;
  ++counts().graph_launches;
  streams.remove_if([](const CUstream_st& s) { return s.branch && s.queue.empty(); });
  std::map<int, CUstream_st*> line = {{0, stream}};
  std::map<const Mark*, MarkRef> mark;
  for (const auto& node : exec->graph.nodes) {
    CUstream_st*& to = line[node.line];
    if (to == nullptr) {
      to = &streams.emplace_back();
      to->branch = true;
    }
    Task t = node.task;
    if (t.mark != nullptr) {
      MarkRef& fresh = mark[t.mark.get()];
      if (fresh == nullptr) fresh = std::make_shared<Mark>();
      t.mark = fresh;
    }
    add(*to, std::move(t));
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return delete exec, cudaSuccess; }
