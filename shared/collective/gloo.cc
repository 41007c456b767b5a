#include <gloo/allgatherv.h>
#include <gloo/alltoallv.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/rendezvous/prefix_store.h>
#include <gloo/transport/tcp/device.h>
#include <signal.h>

#include "shared/base/file.h"
#include "shared/collective/group.h"

namespace fulmen::collective {
namespace {

class Gloo : public Group {
 public:
  explicit Gloo(const GroupOptions& o) : Group(o) {
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

 private:
  void exchange(const char* in, std::span<const size_t> to, char* out, std::span<const size_t> from) override {
    gloo::AlltoallvOptions o(context_);
    o.setInput(const_cast<char*>(in), std::vector<int64_t>(to.begin(), to.end()));
    o.setOutput(out, std::vector<int64_t>(from.begin(), from.end()));
    gloo::alltoallv(o);
  }

  void gather(const char* own, char* all, std::span<const size_t> bytes) override {
    gloo::AllgathervOptions o(context_);
    o.setInput(const_cast<char*>(own), bytes[static_cast<size_t>(rank())]);
    o.setOutput(all, std::vector<size_t>(bytes.begin(), bytes.end()));
    gloo::allgatherv(o);
  }

  void from_root(char* data, size_t bytes, int root) override {
    gloo::BroadcastOptions o(context_);
    o.setOutput(data, bytes);
    o.setRoot(root);
    gloo::broadcast(o);
  }

  void meet() override {
    gloo::BarrierOptions o(context_);
    gloo::barrier(o);
  }

  std::shared_ptr<gloo::Context> context_;
};

}  // namespace

std::unique_ptr<Collective> make_gloo(const GroupOptions& options) {
  check_options(options);
  if (options.size == 1) return make_self();
  signal(SIGPIPE, SIG_IGN);  // Gloo writes to sockets of ranks that may have died; the call then fails by errno
  return std::make_unique<Gloo>(options);
}

}  // namespace fulmen::collective
