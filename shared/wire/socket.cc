#include "shared/wire/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <random>
#include <zmq.hpp>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/base/log.h"

namespace fulmen::wire {
namespace {

constexpr int kHighWaterMark = 512;  // messages; bulk is bounded by the receiver's fetches in flight, not by this
constexpr int kFlushMs = 500;        // how long a closing socket may still send
constexpr int kHeartbeatMs = 2000;   // ZMTP ping; a peer silent for kSilenceMs is disconnected
constexpr int kSilenceMs = 10000;    // well above what a starved I/O thread on a busy machine needs
constexpr int64_t kMaxFrameBytes = 256 << 20;  // a larger frame is not ours

using Clock = std::chrono::steady_clock;

int left_ms(Clock::time_point deadline) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return left > 0 ? static_cast<int>(left) : 0;
}

// One ROUTER or DEALER with the message rules of both sides.
class Link {
 public:
  Link(zmq::socket_type type, std::string run_id)
      : socket_(context_, type), router_(type == zmq::socket_type::router), run_id_(std::move(run_id)) {
    socket_.set(zmq::sockopt::linger, kFlushMs);
    socket_.set(zmq::sockopt::sndhwm, kHighWaterMark);
    socket_.set(zmq::sockopt::rcvhwm, kHighWaterMark);
    socket_.set(zmq::sockopt::maxmsgsize, kMaxFrameBytes);
    socket_.set(zmq::sockopt::heartbeat_ivl, kHeartbeatMs);
    socket_.set(zmq::sockopt::heartbeat_timeout, kSilenceMs);
    socket_.set(zmq::sockopt::heartbeat_ttl, kSilenceMs);
  }

  zmq::context_t& context() { return context_; }
  zmq::socket_t& socket() { return socket_; }

  bool receive(Message& m, int timeout_ms) {
    auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    for (;;) {
      if (!inbox_.empty()) {
        m = std::move(inbox_.front());
        inbox_.pop_front();
        return true;
      }
      if (!wait(ZMQ_POLLIN, left_ms(deadline))) return false;
      take_arrived();
    }
  }

  bool send(Message& m, int timeout_ms) {
    m.envelope.set_protocol(kProtocolVersion);
    m.envelope.set_run_id(run_id_);
    m.envelope.set_seq(++seq_);
    auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    try {
      while (!try_send(m)) {
        if (left_ms(deadline) == 0) return false;
        // A router has no writable event per peer, so its retry is a short poll for arrivals.
        wait(router_ ? ZMQ_POLLIN : ZMQ_POLLIN | ZMQ_POLLOUT, std::min(left_ms(deadline), router_ ? 5 : 100));
        take_arrived();
      }
    } catch (const zmq::error_t& e) {
      if (e.num() == EHOSTUNREACH) return false;
      throw Error(std::string("wire: sending: ") + e.what());
    }
    return true;
  }

 private:
  bool wait(int events, int timeout_ms) {
    zmq::pollitem_t item{socket_.handle(), 0, static_cast<short>(events), 0};
    try {
      return zmq::poll(&item, 1, std::chrono::milliseconds(timeout_ms)) > 0;
    } catch (const zmq::error_t& e) {
      if (e.num() == EINTR) return false;
      throw Error(std::string("wire: waiting for a message: ") + e.what());
    }
  }

  // False when there is no room. Only the first frame can be refused; the others follow it without waiting.
  bool try_send(const Message& m) {
    auto frame = [&](const void* data, size_t bytes, bool more) {
      for (;;) {
        try {
          zmq::message_t part(data, bytes);
          auto flags = zmq::send_flags::dontwait | (more ? zmq::send_flags::sndmore : zmq::send_flags::none);
          return socket_.send(part, flags).has_value();
        } catch (const zmq::error_t& e) {
          if (e.num() != EINTR) throw;
        }
      }
    };
    std::string head;
    FULMEN_CHECK(m.envelope.SerializeToString(&head), "wire: an envelope does not serialise");
    if (router_ && !frame(m.peer.data(), m.peer.size(), true)) return false;
    if (!frame(head.data(), head.size(), !m.frames.empty())) {
      FULMEN_CHECK(!router_, "wire: a router refused the second frame of a message");
      return false;
    }
    for (size_t i = 0; i < m.frames.size(); i++) {
      FULMEN_CHECK(frame(m.frames[i].data(), m.frames[i].size(), i + 1 < m.frames.size()),
                   "wire: a payload frame was refused in the middle of a message");
    }
    return true;
  }

  bool read_parts(std::vector<zmq::message_t>& parts) {
    for (bool more = true; more;) {
      zmq::message_t part;
      try {
        if (!socket_.recv(part, parts.empty() ? zmq::recv_flags::dontwait : zmq::recv_flags::none)) return false;
      } catch (const zmq::error_t& e) {
        if (e.num() == EINTR) continue;
        throw Error(std::string("wire: receiving: ") + e.what());
      }
      more = part.more();
      parts.push_back(std::move(part));
    }
    return true;
  }

  void take_arrived() {
    for (;;) {
      std::vector<zmq::message_t> parts;
      if (!read_parts(parts)) return;
      Message m;
      size_t head = router_ ? 1 : 0;
      if (router_) m.peer = parts[0].to_string();
      if (parts.size() <= head ||
          !m.envelope.ParseFromArray(parts[head].data(), static_cast<int>(parts[head].size()))) {
        base::warn("wire: dropped a message of {} frames without a readable envelope", parts.size());
        continue;
      }
      for (size_t i = head + 1; i < parts.size(); i++) m.frames.push_back(parts[i].to_string());
      if (accept(m)) inbox_.push_back(std::move(m));
    }
  }

  bool accept(const Message& m) {
    const Envelope& e = m.envelope;
    std::string why;
    if (e.protocol() != kProtocolVersion) {
      why = fmt::format("wire protocol: got {}, want {}", e.protocol(), kProtocolVersion);
    } else if (e.run_id() != run_id_) {
      why = fmt::format("run id: got \"{}\", want \"{}\"", e.run_id(), run_id_);
    }
    if (why.empty()) return true;
    if (e.body_case() == Envelope::kFault)
      return !router_;  // a refused client must hear why; faults are never answered
    if (e.body_case() == Envelope::kHello) why += fmt::format(", from {} (pid {})", e.hello().name(), e.hello().pid());
    base::warn("wire: refused a message: {}", why);
    Message reply;
    reply.peer = m.peer;
    reply.envelope.mutable_fault()->set_text(why);
    reply.envelope.set_protocol(kProtocolVersion);
    reply.envelope.set_run_id(run_id_);
    reply.envelope.set_seq(++seq_);
    try {
      if (!try_send(reply)) base::warn("wire: no room to tell the peer that it was refused");
    } catch (const zmq::error_t& err) {
      if (err.num() != EHOSTUNREACH) throw;  // it has gone already
    }
    return false;
  }

  zmq::context_t context_{1};
  zmq::socket_t socket_;
  bool router_;
  std::string run_id_;
  uint64_t seq_ = 0;
  std::deque<Message> inbox_;
};

// HOST of tcp://HOST:PORT as an IPv4 address, since bind does not look names up.
std::string numeric_host(const std::string& host, const std::string& bind) {
  if (host == "*" || host == "0.0.0.0") return "0.0.0.0";
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  int rc = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  FULMEN_CHECK(rc == 0, "cannot bind " + bind + ": host " + host + ": " + gai_strerror(rc));
  char text[INET_ADDRSTRLEN] = {};
  inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(found->ai_addr)->sin_addr, text, sizeof text);
  freeaddrinfo(found);
  return text;
}

// A name by which other hosts may reach a socket bound to every interface.
std::string own_host() {
  char name[256] = {};
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  if (gethostname(name, sizeof name - 1) != 0 || getaddrinfo(name, nullptr, &hints, &found) != 0) return "127.0.0.1";
  freeaddrinfo(found);
  return name;
}

std::string socket_path(const std::string& dir, const std::string& run_id) {
  std::string path = std::filesystem::absolute(dir) / "conductor.sock";
  if (path.size() < sizeof(sockaddr_un{}.sun_path)) return path;
  std::string key = path + '\0' + run_id;
  return fmt::format("/tmp/fulmen-{:016x}.sock", base::digest64(key.data(), key.size()));
}

std::string routing_id() {
  static std::atomic<int> count{0};
  return fmt::format("{}.{}.{:08x}", getpid(), count++, std::random_device{}());
}

}  // namespace

int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

struct Server::State {
  // ZeroMQ silently takes over a socket file that is in use; this lock says whether its owner lives. Declared before
  // the socket, so it is given back after the socket has removed its file.
  struct SocketFile {
    std::string path;
    int lock = -1;
    ~SocketFile() {
      if (lock < 0) return;
      unlink((path + ".lock").c_str());
      close(lock);
    }
  } file;
  Link link;
  std::string endpoint;

  explicit State(const std::string& run_id) : link(zmq::socket_type::router, run_id) {
    link.socket().set(zmq::sockopt::router_mandatory, true);
    link.socket().set(zmq::sockopt::router_handover, true);  // a client that reconnects keeps its routing id
  }

  void bind_ipc(const std::string& dir, const std::string& run_id) {
    base::make_directories(dir);
    std::string path = socket_path(dir, run_id), lock_path = path + ".lock";
    endpoint = "ipc://" + path;
    int lock = open(lock_path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    FULMEN_CHECK(lock >= 0, "cannot bind " + endpoint + ": " + lock_path + ": " + strerror(errno));
    struct stat st {};
    if (flock(lock, LOCK_EX | LOCK_NB) != 0 || fstat(lock, &st) != 0 || st.st_nlink == 0) {
      close(lock);
      throw Error("cannot bind " + endpoint + ": in use by another process (is this run already going?)");
    }
    file.path = path;
    file.lock = lock;
    bind(endpoint);
  }

  void bind_tcp(const std::string& address) {
    size_t colon = address.rfind(':');
    FULMEN_CHECK(address.rfind("tcp://", 0) == 0 && colon > 6 && colon + 1 < address.size(),
                 "cannot bind \"" + address + "\": want ipc or tcp://HOST:PORT (PORT may be *)");
    std::string host = numeric_host(address.substr(6, colon - 6), address), port = address.substr(colon + 1);
    FULMEN_CHECK(port == "*" || (port.find_first_not_of("0123456789") == std::string::npos && port.size() <= 5 &&
                                 std::stoi(port) <= 65535),
                 "cannot bind " + address + ": got port " + port + ", want 0 to 65535 or *");
    endpoint = "tcp://" + host + address.substr(colon);
    bind(endpoint);
    endpoint = link.socket().get(zmq::sockopt::last_endpoint);
    if (host == "0.0.0.0") endpoint = "tcp://" + own_host() + endpoint.substr(endpoint.rfind(':'));
  }

  void bind(const std::string& where) {
    try {
      link.socket().bind(where);
    } catch (const zmq::error_t& e) {
      throw Error("cannot bind " + where + ": " + e.what());
    }
  }
};

Server::Server(const std::string& bind, const std::string& dir, const std::string& run_id)
    : state_(std::make_unique<State>(run_id)) {
  if (bind == "ipc") {
    state_->bind_ipc(dir, run_id);
  } else {
    state_->bind_tcp(bind);
  }
}
Server::~Server() = default;
const std::string& Server::endpoint() const { return state_->endpoint; }
bool Server::receive(Message& m, int timeout_ms) { return state_->link.receive(m, timeout_ms); }
bool Server::send(Message& m, int timeout_ms) { return state_->link.send(m, timeout_ms); }

struct Client::State {
  Link link;
  zmq::socket_t monitor;  // events of the connection
  bool connected = false;
  Clock::time_point changed = Clock::now();

  explicit State(const std::string& run_id)
      : link(zmq::socket_type::dealer, run_id), monitor(link.context(), zmq::socket_type::pair) {
    constexpr char kAddress[] = "inproc://monitor";
    int rc =
        zmq_socket_monitor(link.socket().handle(), kAddress, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED);
    FULMEN_CHECK(rc == 0, std::string("wire: socket monitor: ") + zmq_strerror(zmq_errno()));
    monitor.set(zmq::sockopt::linger, 0);
    monitor.connect(kAddress);
  }
  ~State() { zmq_socket_monitor(link.socket().handle(), nullptr, 0); }

  void read_events() {
    zmq::message_t event, address;
    while (monitor.recv(event, zmq::recv_flags::dontwait) && monitor.recv(address)) {
      uint16_t kind = 0;
      memcpy(&kind, event.data(), sizeof kind);
      connected = kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
      changed = Clock::now();
    }
  }
};

Client::Client(const std::string& endpoint, const std::string& run_id) : state_(std::make_unique<State>(run_id)) {
  zmq::socket_t& socket = state_->link.socket();
  socket.set(zmq::sockopt::routing_id, routing_id());
  socket.set(zmq::sockopt::reconnect_ivl, 50);
  socket.set(zmq::sockopt::reconnect_ivl_max, 1000);
  try {
    socket.connect(endpoint);
  } catch (const zmq::error_t& e) {
    throw Error("cannot connect to \"" + endpoint + "\": " + e.what());
  }
}
Client::~Client() = default;
bool Client::receive(Message& m, int timeout_ms) { return state_->link.receive(m, timeout_ms); }
bool Client::send(Message& m, int timeout_ms) { return state_->link.send(m, timeout_ms); }

int64_t Client::disconnected_ms() {
  state_->read_events();
  if (state_->connected) return 0;
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - state_->changed).count();
}

}  // namespace fulmen::wire
