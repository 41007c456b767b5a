#pragma once
// What the tests of weight sync share: a small model, memory to receive into, a conductor that answers in a thread.

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "kernels/error.h"
#include "shared/wire/weight_sync.h"

namespace fulmen::wire {

struct Model {  // odd sizes, an empty tensor, one larger than several chunks
  std::vector<std::string> bytes;
  std::vector<TensorSource> tensors;
  base::Digest constants{1, 2, 3};

  explicit Model(int seed = 0) {
    add("embed", {1001, 3}, 0, seed);
    add("empty", {0, 7}, 1, seed);
    add("layers.0.w", {3, 1 << 21}, 1, seed + 1);  // 12 MiB
    add("norm", {33}, 0, seed + 2);
    add("head", {1 << 10, 1025}, 0, seed + 3);
    for (size_t i = 0; i < tensors.size(); i++) tensors[i].data = bytes[i].data();
  }

  void add(const std::string& name, std::vector<int64_t> shape, uint32_t dtype, int seed) {
    uint64_t n = dtype == 0 ? 4 : 2;
    for (int64_t d : shape) n *= static_cast<uint64_t>(d);
    std::string b(n, 0);
    uint32_t x = static_cast<uint32_t>(seed) * 2654435761u + 1;
    for (char& c : b) c = static_cast<char>((x = x * 1664525u + 1013904223u) >> 24);
    bytes.push_back(std::move(b));
    tensors.push_back({name, std::move(shape), dtype, nullptr, n});
  }
};

struct Staging {
  std::vector<std::string> bytes;
  explicit Staging(const WeightsManifest& m) {
    for (const auto& t : m.tensors()) bytes.emplace_back(t.bytes(), '?');
  }
  std::function<void*(size_t)> sink() {
    return [this](size_t i) { return bytes[i].data(); };
  }
};

inline std::string unique_run(const std::string& name) { return name + std::to_string(getpid()); }

// A conductor that answers fetches in a thread; `spoil` may change a reply.
class Conductor {
 public:
  Conductor(const std::string& run, const WeightPublisher& publisher, std::function<bool(Message&)> spoil = {})
      : server_("tcp://127.0.0.1:*", "", run), publisher_(publisher), spoil_(std::move(spoil)) {
    thread_ = std::thread([this] { serve(); });
  }
  ~Conductor() {
    stop_ = true;
    thread_.join();
  }
  const std::string& endpoint() const { return server_.endpoint(); }
  // While it lives nothing is answered: a real conductor publishes and answers in one thread.
  std::unique_lock<std::mutex> hold() { return std::unique_lock(answering_); }

 private:
  void serve() {
    while (!stop_) {
      Message m;
      if (!server_.receive(m, 10) || !m.envelope.has_weights_fetch()) continue;
      Message reply;
      try {
        const std::scoped_lock lock(answering_);
        publisher_.answer(m.envelope.weights_fetch(), reply);
      } catch (const Error& e) {
        reply.envelope.mutable_fault()->set_text(e.what());
      }
      reply.peer = m.peer;
      if (!spoil_ || spoil_(reply)) server_.send(reply);
    }
  }

  Server server_;
  const WeightPublisher& publisher_;
  std::function<bool(Message&)> spoil_;
  std::atomic<bool> stop_{false};
  std::mutex answering_;
  std::thread thread_;
};

inline bool receive(const WeightsManifest& m, Staging& staging, const std::string& endpoint, const std::string& run,
                    std::string& why, int timeout_ms = 10000) {
  Client client(endpoint, run);
  std::vector<Message> stash;
  return receive_weights(m, staging.sink(), client, stash, timeout_ms, why);
}

}  // namespace fulmen::wire
