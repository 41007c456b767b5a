#pragma once
// One POST to somebody else's server, with everything it may do wrong bounded: the whole exchange by a deadline (not
// only each read), the answer by its size; redirects are not followed. And the rule by which it is tried again.

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace fulmen::reward {

struct Url {
  std::string origin, path;  // http://host:port, /v1/x
};
// https: the server's certificate and name are verified, against the system's authorities or those in the file that the
// environment variable SSL_CERT_FILE names. There is no way to leave that out.
Url parse_url(const std::string& text);  // throws Error for what is no http:// or https:// address

struct HttpReply {
  enum class Result { kAnswer, kTimeout, kFailed };  // kFailed: no connection, cut off, too large
  Result result = Result::kFailed;
  int status = 0;
  std::string body;
  std::string problem;  // one line; empty for status 200
};

struct PostOptions {
  std::chrono::steady_clock::time_point deadline;  // of all attempts together
  int attempts = 4;                                // on no connection, 408, 429, 5xx
  int first_pause_ms = 100;                        // doubles
  size_t max_bytes = 4 << 20;
  std::vector<std::pair<std::string, std::string>> headers{};
};

HttpReply post_json(const Url& url, const std::string& body, const PostOptions& options);

}  // namespace fulmen::reward
