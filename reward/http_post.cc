#include "reward/http_post.h"

#include <fmt/core.h>
#include <httplib.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "kernels/error.h"

namespace fulmen::reward {
namespace {

using Clock = std::chrono::steady_clock;

// Cuts a request off at the deadline: the library's own limits are per read, and a server that sends a byte a second
// keeps those happy.
class Watchdog {
 public:
  Watchdog(httplib::Client& client, Clock::time_point deadline)
      : thread_([this, &client, deadline] {
          std::unique_lock lock(mutex_);
          if (over_.wait_until(lock, deadline, [this] { return done_; })) return;
          fired_ = true;
          client.stop();
        }) {}
  ~Watchdog() { end(); }
  bool end() {  // whether it had to step in
    {
      std::lock_guard lock(mutex_);
      done_ = true;
    }
    over_.notify_one();
    if (thread_.joinable()) thread_.join();
    return fired_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool done_ = false, fired_ = false;
  std::thread thread_;
};

std::string why_not_sent(httplib::Error error) {
  switch (error) {
    case httplib::Error::Connection:
    case httplib::Error::ConnectionTimeout:
      return "no connection: is a server there?";
    case httplib::Error::SSLConnection:
      return "no TLS connection: does the server speak https?";
    case httplib::Error::SSLLoadingCerts:
    case httplib::Error::SSLServerVerification:
      return "the server's certificate is not vouched for; SSL_CERT_FILE may name a file with its authority";
    case httplib::Error::Read:
    case httplib::Error::Write:
      return "the connection broke off";
    default:
      return httplib::to_string(error);
  }
}

HttpReply post_once(const Url& url, const std::string& body, const PostOptions& options) {
  HttpReply reply;
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(options.deadline - Clock::now());
  if (left.count() <= 0) {
    reply.result = HttpReply::Result::kTimeout;
    reply.problem = "the deadline passed";
    return reply;
  }
  httplib::Client client(url.origin);
  client.set_follow_location(false);
  client.set_connection_timeout(left);
  client.set_read_timeout(left + std::chrono::seconds(1));  // the watchdog comes first
  client.set_write_timeout(left + std::chrono::seconds(1));
  client.set_tcp_nodelay(true);
  httplib::Request request;
  request.method = "POST";
  request.path = url.path;
  request.body = body;
  request.set_header("Content-Type", "application/json");
  for (const auto& [name, value] : options.headers) request.set_header(name, value);
  bool large = false;
  request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    large = reply.body.size() + size > options.max_bytes;
    if (!large) reply.body.append(data, size);
    return !large;
  };
  Watchdog watchdog(client, options.deadline);
  httplib::Response response;
  httplib::Error error = httplib::Error::Success;
  const bool sent = client.send(request, response, error);
  constexpr auto kRounding = std::chrono::milliseconds(5);  // of the connection's time limit
  if (watchdog.end() || (!sent && Clock::now() + kRounding >= options.deadline)) {
    reply.result = HttpReply::Result::kTimeout;
    reply.problem = "no whole answer before the deadline";
  } else if (large) {
    reply.problem = fmt::format("the answer is larger than {} bytes", options.max_bytes);
  } else if (!sent) {
    reply.problem = why_not_sent(error);
  } else {
    reply.result = HttpReply::Result::kAnswer;
    reply.status = response.status;
    if (response.status != 200) reply.problem = fmt::format("status {}", response.status);
  }
  return reply;
}

bool worth_another_try(const HttpReply& r) {
  if (r.result == HttpReply::Result::kAnswer) return r.status == 408 || r.status == 429 || r.status >= 500;
  return r.result == HttpReply::Result::kFailed && r.problem.find("larger than") == std::string::npos;
}

}  // namespace

Url parse_url(const std::string& text) {
  const size_t scheme = text.find("://");
  const bool known = text.rfind("http://", 0) == 0 || text.rfind("https://", 0) == 0;
  FULMEN_CHECK(known && text.size() > scheme + 3 && text.find_first_of(" \t\r\n") == std::string::npos,
               "address \"" + text + "\": want http://HOST:PORT/PATH");
  const size_t slash = text.find('/', scheme + 3);
  return {text.substr(0, slash), slash == std::string::npos ? "/" : text.substr(slash)};
}

HttpReply post_json(const Url& url, const std::string& body, const PostOptions& options) {
  HttpReply reply;
  int pause_ms = options.first_pause_ms;
  for (int attempt = 1;; ++attempt) {
    reply = post_once(url, body, options);
    const auto next = Clock::now() + std::chrono::milliseconds(pause_ms);
    if (!worth_another_try(reply) || attempt >= options.attempts || next >= options.deadline) break;
    std::this_thread::sleep_until(next);
    pause_ms *= 2;
  }
  if (!reply.problem.empty()) reply.problem = url.origin + url.path + ": " + reply.problem;
  return reply;
}

}  // namespace fulmen::reward
