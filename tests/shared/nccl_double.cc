// What nccl_test opens in place of libnccl.so.2: the functions that shared/collective/nccl_api.h names, between
// processes of one host, through pipes in shared memory. Semantics are those of the NCCL user guide for communicators
// that do not block: init and transfers go on in a thread of their own, errors come by ncclCommGetAsyncError, a lost
// peer is silence (or, with NCCL_DOUBLE_DETECT, ncclRemoteError), abort ends everything at once. A "stream" is a
// counter of transfers that are under way; "device" memory is the host's.
//
// NCCL_DOUBLE_VERSION: the version told. NCCL_DOUBLE_ERROR_AT=N: the N-th group of transfers of this process fails.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "shared/collective/nccl_api.h"

using fulmen::collective::NcclConfig;
using fulmen::collective::NcclResult;
using fulmen::collective::NcclUniqueId;

namespace {

constexpr int kRanks = 8;
constexpr uint64_t kPipe = 1 << 16;

struct Pipe {  // one writer, one reader
  std::atomic<uint64_t> head{0}, tail{0};
  char data[kPipe];
};

struct Region {
  std::atomic<int> joined{0};
  std::atomic<int> pid[kRanks], aborted[kRanks];
  Pipe pipe[kRanks][kRanks];  // [from][to]
};

struct Transfer {
  bool send;
  int peer;
  char* data;
  size_t bytes, done = 0;
};

struct Group {
  std::vector<Transfer> transfers;
  std::atomic<int>* stream;
};

long environment(const char* name, long otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atol(text) : otherwise;
}

}  // namespace

namespace fulmen::collective {
struct NcclComm {
  int rank = 0, size = 0;
  std::string name;
  Region* region = nullptr;
  std::atomic<NcclResult> state{NcclResult::kInProgress};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Group> groups;
  int groups_begun = 0;
  std::thread thread;

  void run() {
    region->pid[rank] = getpid();
    ++region->joined;
    while (region->joined < size) {
      if (stop) return;
      usleep(200);
    }
    if (rank == 0) shm_unlink(name.c_str());
    state = NcclResult::kSuccess;
    for (;;) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return stop || !groups.empty(); });
      if (stop) return;
      Group group = std::move(groups.front());
      groups.pop_front();
      lock.unlock();
      if (!move(group)) return;
      --*group.stream;
    }
  }

  bool move(Group& group) {
    if (++groups_begun == environment("NCCL_DOUBLE_ERROR_AT", -1)) {
      state = NcclResult::kSystemError;
      return false;
    }
    for (;;) {
      if (stop) return false;
      bool all = true, moved = false;
      std::set<std::pair<bool, int>> busy;  // messages to a rank, and from one, keep their order
      for (Transfer& t : group.transfers) {
        const size_t before = t.done;
        if (!busy.contains({t.send, t.peer})) t.send ? put(t) : get(t);
        moved |= t.done != before;
        if (t.done < t.bytes) all = false, busy.emplace(t.send, t.peer);
      }
      if (all) return true;
      if (moved) continue;
      if (environment("NCCL_DOUBLE_DETECT", 0) != 0)
        for (const Transfer& t : group.transfers)
          if (t.done < t.bytes && kill(region->pid[t.peer], 0) != 0) {
            state = NcclResult::kRemoteError;
            return false;
          }
      usleep(50);
    }
  }

  void put(Transfer& t) {
    Pipe& p = region->pipe[rank][t.peer];
    const uint64_t n = std::min<uint64_t>(t.bytes - t.done, kPipe - (p.head - p.tail));
    const uint64_t at = p.head % kPipe, here = std::min(n, kPipe - at);
    std::memcpy(p.data + at, t.data + t.done, here);
    std::memcpy(p.data, t.data + t.done + here, n - here);
    p.head += n, t.done += n;
  }
  void get(Transfer& t) {
    if (region->aborted[t.peer] != 0) return;  // what it had under way is lost
    Pipe& p = region->pipe[t.peer][rank];
    const uint64_t n = std::min<uint64_t>(t.bytes - t.done, p.head - p.tail);
    const uint64_t at = p.tail % kPipe, here = std::min(n, kPipe - at);
    std::memcpy(t.data + t.done, p.data + at, here);
    std::memcpy(t.data + t.done + here, p.data, n - here);
    p.tail += n, t.done += n;
  }

  ~NcclComm() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    changed.notify_all();
    if (thread.joinable()) thread.join();
    if (rank == 0) shm_unlink(name.c_str());
    munmap(region, sizeof(Region));
  }
};
}  // namespace fulmen::collective

using fulmen::collective::NcclComm;

namespace {
thread_local int depth = 0;
thread_local Group open_group;
thread_local NcclComm* open_comm = nullptr;

NcclResult close_group() {
  if (open_comm == nullptr) return NcclResult::kSuccess;
  {
    const std::lock_guard lock(open_comm->mutex);
    ++*open_group.stream;
    open_comm->groups.push_back(std::move(open_group));
  }
  open_comm->changed.notify_all();
  open_group = {};
  open_comm = nullptr;
  return NcclResult::kInProgress;
}

NcclResult add(NcclComm* comm, void* stream, Transfer t) {
  if (stream == nullptr || t.peer < 0 || t.peer >= comm->size) return NcclResult::kInvalidArgument;
  open_comm = comm;
  open_group.stream = static_cast<std::atomic<int>*>(stream);
  open_group.transfers.push_back(t);
  return depth > 0 ? NcclResult::kSuccess : close_group();
}
}  // namespace

extern "C" {
NcclResult ncclGetVersion(int* version) {
  *version = static_cast<int>(environment("NCCL_DOUBLE_VERSION", 22809));
  return NcclResult::kSuccess;
}
NcclResult ncclGetUniqueId(NcclUniqueId* id) {
  static std::atomic<int> count{0};
  *id = {};
  std::snprintf(id->bytes, sizeof id->bytes, "/fulmen-nccl-double-%d-%d", getpid(), count++);
  return NcclResult::kSuccess;
}
NcclResult ncclCommInitRankConfig(NcclComm** comm, int size, NcclUniqueId id, int rank, NcclConfig* config) {
  if (config->magic != 0xcafebeef || config->blocking != 0 || size > kRanks) return NcclResult::kInvalidArgument;
  const int fd = shm_open(id.bytes, O_CREAT | O_RDWR, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(Region)) != 0) return NcclResult::kSystemError;
  void* p = mmap(nullptr, sizeof(Region), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (p == MAP_FAILED) return NcclResult::kSystemError;
  auto c = std::make_unique<NcclComm>();
  c->rank = rank, c->size = size, c->name = id.bytes, c->region = static_cast<Region*>(p);
  *comm = c.release();
  (*comm)->thread = std::thread([comm = *comm] { comm->run(); });
  return NcclResult::kInProgress;
}
NcclResult ncclCommGetAsyncError(NcclComm* comm, NcclResult* state) {
  *state = comm->state;
  return NcclResult::kSuccess;
}
NcclResult ncclCommFinalize(NcclComm*) { return NcclResult::kSuccess; }
NcclResult ncclCommDestroy(NcclComm* comm) {
  const std::unique_ptr<NcclComm> owned(comm);
  return NcclResult::kSuccess;
}
NcclResult ncclCommAbort(NcclComm* comm) {
  comm->region->aborted[comm->rank] = 1;
  return ncclCommDestroy(comm);
}
NcclResult ncclGroupStart() { return ++depth, NcclResult::kSuccess; }
NcclResult ncclGroupEnd() { return --depth == 0 ? close_group() : NcclResult::kSuccess; }
NcclResult ncclSend(const void* data, size_t count, int, int peer, NcclComm* comm, void* stream) {
  return add(comm, stream, {true, peer, static_cast<char*>(const_cast<void*>(data)), count});
}
NcclResult ncclRecv(void* data, size_t count, int, int peer, NcclComm* comm, void* stream) {
  return add(comm, stream, {false, peer, static_cast<char*>(data), count});
}
NcclResult ncclBroadcast(const void* from, void* to, size_t count, int, int root, NcclComm* comm, void* stream) {
  if (comm->rank != root) return ncclRecv(to, count, 0, root, comm, stream);
  NcclResult r = NcclResult::kSuccess;
  ++depth;
  for (int peer = 0; peer < comm->size; ++peer)
    if (peer != root) r = ncclSend(from, count, 0, peer, comm, stream);
  return --depth == 0 ? close_group() : r;
}
const char* ncclGetErrorString(NcclResult r) {
  return r == NcclResult::kRemoteError   ? "remote process exited or there was a network error"
         : r == NcclResult::kSystemError ? "unhandled system error"
                                         : "invalid argument";
}
const char* ncclGetLastError(NcclComm*) { return "the double says so"; }
}
