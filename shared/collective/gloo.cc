#include <fmt/core.h>
#include <gloo/allgather.h>
#include <gloo/allgatherv.h>
#include <gloo/alltoallv.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/rendezvous/prefix_store.h>
#include <gloo/transport/tcp/device.h>
#include <signal.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/collective/collective.h"
#include "shared/collective/roll_call.h"

namespace fulmen::collective {
namespace {

constexpr size_t kSliceBytes = 1 << 20;  // of one rank in one round of a sum: bounds the buffers, not the result

class Gloo : public Collective {
 public:
  explicit Gloo(const GlooOptions& o) : options_(o), roll_(o.directory, o.epoch, o.rank, o.size) {
    roll_.wait_for_all(o.timeout_ms, o.while_waiting);
    guarded("connecting", [&] {
      gloo::transport::tcp::attr attr;
      attr.hostname = o.host;
      auto device = gloo::transport::tcp::CreateDevice(attr);
      std::string keys = o.directory + "/" + o.epoch + ".keys";
      base::make_directories(keys);
      gloo::rendezvous::FileStore files(keys);
      gloo::rendezvous::PrefixStore store(o.epoch, files);
      auto context = std::make_shared<gloo::rendezvous::Context>(o.rank, o.size);
      context->setTimeout(std::chrono::milliseconds(o.timeout_ms));
      context->connectFullMesh(store, device);
      context_ = context;
    });
  }

  int rank() const override { return options_.rank; }
  int size() const override { return options_.size; }

  void allreduce_sum(std::span<float> data) override { sum_one_each(data); }
  void allreduce_sum(std::span<double> data) override { sum_one_each(data); }

  void sum_in_order(std::span<const std::span<const float>> parts, std::span<const int> counts,
                    std::span<float> out) override {
    FULMEN_CHECK(
        counts.size() == ranks() && parts.size() == static_cast<size_t>(counts[static_cast<size_t>(rank())]),
        fmt::format("collective: rank {}: sum_in_order: got {} parts, want as its count says", rank(), parts.size()));
    guarded("sum", [&] { sum(parts, counts, out); });
  }

  std::vector<std::string> allgather(std::string_view bytes) override {
    std::vector<std::string> all;
    guarded("gather", [&] {
      std::vector<uint64_t> lengths(ranks());
      uint64_t own = bytes.size();
      gather_equal(&own, lengths.data(), 1);
      std::vector<size_t> counts(lengths.begin(), lengths.end());
      size_t total = std::accumulate(counts.begin(), counts.end(), size_t{0});
      std::string in(bytes), out(total, '\0');
      if (total > 0) {
        gloo::AllgathervOptions o(context_);
        o.setInput(in.data(), in.size());
        o.setOutput(out.data(), counts);
        gloo::allgatherv(o);
      }
      size_t at = 0;
      for (size_t n : counts) {
        all.push_back(out.substr(at, n));
        at += n;
      }
    });
    return all;
  }

  void broadcast(std::string& bytes, int root) override {
    FULMEN_CHECK(root >= 0 && root < size(),
                 fmt::format("collective: broadcast: got root {}, want 0 to {}", root, size() - 1));
    guarded("broadcast", [&] {
      uint64_t length = bytes.size();
      from_root(&length, 1, root);
      bytes.resize(length);
      if (length > 0) from_root(bytes.data(), bytes.size(), root);
    });
  }

  void wait_for(int rank) override {
    FULMEN_CHECK(!broken_, "collective: wait_for after the group broke");
    roll_.wait_for_call(rank);
  }

  void barrier() override {
    guarded("barrier", [&] {
      gloo::BarrierOptions o(context_);
      gloo::barrier(o);
    });
  }

 private:
  size_t ranks() const { return static_cast<size_t>(options_.size); }

  // Runs one call; whatever Gloo throws becomes an Error that says which rank it was.
  template <class F>
  void guarded(const char* what, F&& call) {
    FULMEN_CHECK(!broken_, fmt::format("collective: rank {}: {} after the group broke", rank(), what));
    roll_.begin_call();
    try {
      call();
    } catch (const std::exception& e) {
      broken_ = true;
      throw Error(
          fmt::format("collective: rank {} of {}: {}: {} [{}]", rank(), size(), what, roll_.suspects(), e.what()));
    }
  }

  template <class T>
  void gather_equal(T* own, T* all, size_t count) {
    gloo::AllgatherOptions o(context_);
    o.setInput(own, count);
    o.setOutput(all, count * ranks());
    gloo::allgather(o);
  }

  template <class T>
  void from_root(T* data, size_t count, int root) {
    gloo::BroadcastOptions o(context_);
    o.setOutput(data, count);
    o.setRoot(root);
    gloo::broadcast(o);
  }

  template <class T>
  void sum_one_each(std::span<T> data) {
    const std::span<const T> own = data;
    const std::vector<int> counts(ranks(), 1);
    guarded("sum", [&] { sum<T>({&own, 1}, counts, data); });
  }

  // In rounds: slice r of the round goes to rank r from everybody, all parts of it, who adds them in order; then all
  // slices go to all.
  template <class T>
  void sum(std::span<const std::span<const T>> parts, std::span<const int> counts, std::span<T> out) {
    const size_t total = static_cast<size_t>(std::accumulate(counts.begin(), counts.end(), 0));
    if (out.empty()) return;
    FULMEN_CHECK(total > 0, "no rank has a part");
    const size_t per_rank = std::min(kSliceBytes / sizeof(T), (out.size() + ranks() - 1) / ranks());
    std::vector<T> sent(per_rank * ranks() * parts.size()), received(per_rank * total), slice(per_rank),
        whole(per_rank * ranks());
    std::vector<int64_t> to(ranks(), static_cast<int64_t>(per_rank * parts.size())), from;
    for (const int n : counts) from.push_back(static_cast<int64_t>(per_rank) * n);
    for (size_t at = 0; at < out.size(); at += whole.size()) {
      const size_t n = std::min(whole.size(), out.size() - at);
      T* next = sent.data();
      for (size_t r = 0; r < ranks(); r++) {
        const size_t begin = std::min(n, r * per_rank), end = std::min(n, begin + per_rank);
        for (const std::span<const T>& part : parts) {
          std::copy_n(part.data() + at + begin, end - begin, next);
          std::fill(next + (end - begin), next + per_rank, T{0});
          next += per_rank;
        }
      }
      gloo::AlltoallvOptions o(context_);
      o.setInput(sent.data(), to);
      o.setOutput(received.data(), from);
      gloo::alltoallv(o);
      std::copy_n(received.begin(), per_rank, slice.begin());
      for (size_t p = 1; p < total; p++) {
        const T* addend = received.data() + p * per_rank;
        for (size_t i = 0; i < per_rank; i++) slice[i] += addend[i];
      }
      gather_equal(slice.data(), whole.data(), per_rank);
      std::copy_n(whole.begin(), n, out.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }

  GlooOptions options_;
  RollCall roll_;
  std::shared_ptr<gloo::Context> context_;
  bool broken_ = false;
};

}  // namespace

std::unique_ptr<Collective> make_gloo(const GlooOptions& options) {
  FULMEN_CHECK(options.size >= 1 && options.rank >= 0 && options.rank < options.size,
               fmt::format("collective: got rank {} of {}, want 0 <= rank < size", options.rank, options.size));
  FULMEN_CHECK(!options.epoch.empty() && options.epoch.find('/') == std::string::npos,
               "collective: got epoch \"" + options.epoch + "\", want a name without a slash");
  if (options.size == 1) return make_self();
  signal(SIGPIPE, SIG_IGN);  // Gloo writes to sockets of ranks that may have died; the call then fails by errno
  return std::make_unique<Gloo>(options);
}

}  // namespace fulmen::collective
