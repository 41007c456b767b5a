#include <fmt/core.h>

#include <chrono>
#include <cstring>
#include <numeric>
#include <thread>
#include <utility>

#include "kernels/error.h"
#include "kernels/memory.h"
#include "kernels/pointwise.h"
#include "shared/base/file.h"
#include "shared/collective/group.h"
#include "shared/collective/nccl_api.h"

namespace fulmen::collective {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFarewellMs = 5000;
constexpr auto kLook = std::chrono::milliseconds(200);  // how often a wait asks who is still there
constexpr auto kGone = std::chrono::seconds(1);         // a rank may leave before the others have what it sent last

std::string id_path(const GroupOptions& o) { return o.directory + "/" + o.epoch + ".nccl-id"; }

// Communicators do not block, so every wait below is ours and has the group's deadline; after one that failed the
// communicator is aborted, which ends what still runs on the device. NCCL only moves bytes here: it adds nothing, so
// its choice of algorithm is in no result (numerics contract 2).
class Nccl : public Group {
 public:
  Nccl(const GroupOptions& o, const NcclOptions& n, const NcclApi& api)
      : Group(o), api_(api), ctx_(*n.ctx), piece_bytes_(n.piece_bytes) {
    guarded("connecting", [&] {
      const NcclUniqueId id = read_id();
      NcclConfig config;
      accept(api_.init_rank(&comm_, size(), id, rank(), &config), "ncclCommInitRankConfig");
      settle("ncclCommInitRankConfig");
    });
  }

  ~Nccl() override {
    if (comm_ == nullptr) return;
    try {
      deadline_ms_ = kFarewellMs;  // a rank that leaves early must not keep the others for long
      accept(api_.finalize(comm_), "ncclCommFinalize");
      settle("ncclCommFinalize");
      api_.destroy(std::exchange(comm_, nullptr));
    } catch (const std::exception&) {
      give_up();
    }
  }

 private:
  NcclUniqueId read_id() const {
    const std::string bytes = base::read_file(id_path(options()));
    NcclUniqueId id;
    FULMEN_CHECK(bytes.size() == sizeof id.bytes,
                 fmt::format("{}: got {} bytes, want {}", id_path(options()), bytes.size(), sizeof id.bytes));
    std::memcpy(id.bytes, bytes.data(), sizeof id.bytes);
    return id;
  }

  void exchange(const char* in, std::span<const size_t> to, char* out, std::span<const size_t> from) override {
    const size_t sent = std::accumulate(to.begin(), to.end(), size_t{0});
    const size_t received = std::accumulate(from.begin(), from.end(), size_t{0});
    char* device = buffer(sent + received);
    kernels::copy_in(device, in, sent, ctx_);
    const char* next_in = device;
    char* next_out = device + sent;
    queue([&] {
      for (size_t r = 0; r < ranks(); r++) {
        send(next_in, to[r], r), receive(next_out, from[r], r);
        next_in += to[r], next_out += from[r];
      }
    });
    kernels::copy_out(out, device + sent, received, ctx_);
  }

  void gather(const char* own, char* all, std::span<const size_t> bytes) override {
    const size_t mine = bytes[static_cast<size_t>(rank())];
    char* device = buffer(mine + std::accumulate(bytes.begin(), bytes.end(), size_t{0}));
    kernels::copy_in(device, own, mine, ctx_);
    char* next = device + mine;
    queue([&] {
      for (size_t r = 0; r < ranks(); r++) {
        send(device, mine, r), receive(next, bytes[r], r);
        next += bytes[r];
      }
    });
    kernels::copy_out(all, device + mine, static_cast<size_t>(next - device) - mine, ctx_);
  }

  void from_root(char* data, size_t bytes, int root) override {
    for (size_t at = 0; at < bytes; at += piece_bytes_) {
      const size_t n = std::min(piece_bytes_, bytes - at);
      char* device = buffer(n);
      if (rank() == root) kernels::copy_in(device, data + at, n, ctx_);
      queue([&] { accept(api_.broadcast(device, device, n, NcclApi::kInt8, root, comm_, stream()), "ncclBroadcast"); });
      if (rank() != root) kernels::copy_out(data + at, device, n, ctx_);
    }
  }

  bool reaches_device() const override { return true; }

  // Pieces are sent in groups: NCCL makes one launch of many small ones, and each group has its deadline.
  void broadcast_on_device(std::span<const DeviceBytes> pieces, int root) override {
    check_root(root);
    guarded("broadcast", [&] {
      for (size_t next = 0; next < pieces.size();) {
        queue([&] {
          size_t bytes = 0;
          for (; next < pieces.size() && bytes < piece_bytes_; bytes += pieces[next++].bytes) {
            const auto& [data, n] = pieces[next];
            if (n > 0) accept(api_.broadcast(data, data, n, NcclApi::kInt8, root, comm_, stream()), "ncclBroadcast");
          }
        });
      }
    });
  }

  void sum_in_order_on_device(std::span<const float* const> parts, std::span<const int> counts, float* out,
                              size_t length) override {
    check_parts(parts.size(), counts);
    guarded("sum", [&] { sum_on_device(parts, counts, out, length); });
  }

  // In rounds, as Group::sum. Between two ranks messages keep the order in which both name them.
  void sum_on_device(std::span<const float* const> parts, std::span<const int> counts, float* out, size_t length) {
    if (length == 0) return;
    const auto total = static_cast<size_t>(std::accumulate(counts.begin(), counts.end(), 0));
    FULMEN_CHECK(total > 0, "no rank has a part");
    const size_t per_rank = std::min(piece_bytes_ / sizeof(float) / total + 1, (length + ranks() - 1) / ranks());
    float* const received = reinterpret_cast<float*>(buffer(per_rank * total * sizeof(float)));
    for (size_t at = 0; at < length; at += per_rank * ranks()) {
      const auto begin = [&](size_t r) { return std::min(length, at + r * per_rank); };
      const auto bytes = [&](size_t r) { return (begin(r + 1) - begin(r)) * sizeof(float); };
      const size_t own = bytes(static_cast<size_t>(rank()));
      queue([&] {
        float* next = received;
        for (size_t r = 0; r < ranks(); r++) {
          for (const float* part : parts) send(part + begin(r), bytes(r), r);
          for (int p = 0; p < counts[r]; p++, next += per_rank) receive(next, own, r);
        }
      });
      const auto part = [&](size_t p) {
        return kernels::mat(received + p * per_rank, 1, static_cast<int64_t>(own / sizeof(float)));
      };
      for (size_t p = 1; p < total && own > 0; p++) kernels::scaled_add({part(0), part(p), part(0)}, ctx_);
      queue([&] {
        for (size_t r = 0; r < ranks(); r++) send(received, own, r), receive(out + begin(r), bytes(r), r);
      });
    }
  }

  void send(const void* data, size_t bytes, size_t peer) const {
    if (bytes == 0) return;
    accept(api_.send(data, bytes, NcclApi::kInt8, static_cast<int>(peer), comm_, stream()), "ncclSend");
  }
  void receive(void* data, size_t bytes, size_t peer) const {
    if (bytes == 0) return;
    accept(api_.receive(data, bytes, NcclApi::kInt8, static_cast<int>(peer), comm_, stream()), "ncclRecv");
  }

  void meet() override {
    const std::vector<size_t> one(ranks(), 1);
    const char here = 0;
    std::vector<char> all(ranks());
    gather(&here, all.data(), one);
  }

  // Never waits on a stream that has a dead peer: the stream is asked whether it is done, until the deadline.
  template <class F>
  void queue(F&& calls) {
    accept(api_.group_start(), "ncclGroupStart");
    calls();
    accept(api_.group_end(), "ncclGroupEnd");
    settle("the transfer", true);
  }

  void accept(NcclResult r, const char* call) const {
    if (r == NcclResult::kSuccess || r == NcclResult::kInProgress) return;
    throw Error(fmt::format("{}: {}{}", call, api_.error_string(r), detail()));
  }

  std::string detail() const {
    const char* last = comm_ != nullptr ? api_.last_error(comm_) : nullptr;
    return last != nullptr && *last != '\0' ? fmt::format(" ({})", last) : "";
  }

  // Until NCCL has taken (and with `stream`, the device has done) what it was given.
  void settle(const char* what, bool and_stream = false) {
    const auto begin = Clock::now(), end = begin + std::chrono::milliseconds(deadline_ms_);
    auto looked = begin, gone_since = begin;
    for (;;) {
      NcclResult state = NcclResult::kInternalError;
      const NcclResult asked = api_.async_error(comm_, &state);
      accept(asked, "ncclCommGetAsyncError");
      accept(state, what);
      if (state == NcclResult::kSuccess && (!and_stream || kernels::idle(ctx_))) return;
      const auto now = Clock::now();
      FULMEN_CHECK(now < end, fmt::format("{}: not done within {} ms", what, deadline_ms_));
      // Busy for a moment, since most transfers are short; then at leisure.
      if (now - begin > std::chrono::milliseconds(1)) std::this_thread::sleep_for(std::chrono::microseconds(100));
      if (now - looked < kLook) continue;
      looked = now;
      if (options().while_waiting) options().while_waiting();
      // NCCL may say nothing of a peer that died; the roll call does, where it sees that host's locks.
      if (roll().gone().empty()) gone_since = now;
      FULMEN_CHECK(now - gone_since < kGone, fmt::format("{}: not done, and a rank is gone", what));
    }
  }

  void give_up() noexcept override {
    if (comm_ != nullptr) api_.abort(std::exchange(comm_, nullptr));
  }

  void* stream() const { return kernels::stream(ctx_); }

  char* buffer(size_t bytes) {
    if (bytes > buffer_bytes_) {
      buffer_.reset();
      buffer_ = kernels::allocate(bytes, ctx_);
      buffer_bytes_ = bytes;
    }
    return static_cast<char*>(buffer_.get());
  }

  NcclApi api_;
  kernels::Context& ctx_;
  size_t piece_bytes_;
  NcclComm* comm_ = nullptr;
  int deadline_ms_ = options().timeout_ms;
  kernels::DeviceMemory buffer_;
  size_t buffer_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Collective> make_nccl(const GroupOptions& options, const NcclOptions& nccl) {
  check_options(options);
  if (options.size == 1) return make_self();
  FULMEN_CHECK(nccl.ctx != nullptr && kernels::stream(*nccl.ctx) != nullptr,
               "nccl: moves the memory of GPUs, and this process computes on the CPU (run.device)");
  const NcclApi api = load_nccl(nccl.library);
  if (options.rank == 0) {  // names the group before it is seen to be there: once all are there, the name is too
    NcclUniqueId id;
    const NcclResult r = api.get_unique_id(&id);
    FULMEN_CHECK(r == NcclResult::kSuccess, fmt::format("nccl: ncclGetUniqueId: {}", api.error_string(r)));
    base::make_directories(options.directory);
    base::write_file_atomic(id_path(options), {id.bytes, sizeof id.bytes});
  }
  return std::make_unique<Nccl>(options, nccl, api);
}

}  // namespace fulmen::collective
