#pragma once
// ZeroMQ between the conductor and its workers: a ROUTER that binds, DEALERs that connect. Both sides see whole
// messages.
//
// Rules (facts/distributed 3, 6.2): ZMTP heartbeats on; high-water marks of some messages; every wait has a deadline;
// the conductor learns of a dead peer by missing Heartbeat messages and re-issues its work; acks decide, not send(). A
// message with another protocol version or run id is answered with Fault and dropped; a Fault is always delivered to a
// client and never answered. A message that does not parse is dropped with a warning. While send() waits for room it
// takes arriving messages in, so two sides that send at once cannot block each other. Not thread-safe: one thread a
// socket.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "shared/wire/fulmen.pb.h"

namespace fulmen::wire {

inline constexpr uint32_t kProtocolVersion = 2;

struct Message {
  std::string peer;  // server side: routing id of the sender / receiver
  Envelope envelope;
  std::vector<std::string> frames;  // bulk payload behind the envelope
};

int64_t unix_ms();  // for Envelope.deadline_ms

class Server {
 public:
  // bind: "ipc" (a socket file in dir, or under /tmp when that path would be too long for a socket), or tcp://HOST:PORT
  // with PORT or "*". Port or socket in use, bad address: Error naming the endpoint.
  Server(const std::string& bind, const std::string& dir, const std::string& run_id);
  ~Server();                                 // gives queued messages half a second to leave
  const std::string& endpoint() const;       // what clients connect to
  bool receive(Message& m, int timeout_ms);  // false on timeout or when a signal came
  bool send(Message& m,
            int timeout_ms = 5000);  // false when the peer is gone or takes nothing; fills protocol, run id, seq

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class Client {
 public:
  Client(const std::string& endpoint, const std::string& run_id);  // does not wait for the server to be there
  ~Client();
  bool receive(Message& m, int timeout_ms);
  bool send(Message& m, int timeout_ms = 5000);
  // How long there has been no connection; 0 while there is one. A worker whose conductor is gone for good ends by
  // this.
  int64_t disconnected_ms();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fulmen::wire
