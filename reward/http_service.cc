#include "reward/http_service.h"

#include <fmt/core.h>
#include <httplib.h>
#include <signal.h>

#include <latch>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "reward/record_json.h"
#include "shared/base/log.h"

namespace fulmen::reward {
namespace {

// What is the client's fault: answered with a 4xx status and the message.
struct BadRequest {
  int status;
  std::string what;
};

void answer(httplib::Response& out, int status, const Json& j) {
  out.status = status;
  out.set_content(dump_json(j), "application/json");
}

Json parse_body(const httplib::Request& request) {
  try {
    return parse_json(request.body);
  } catch (const std::exception& e) {
    throw BadRequest{400, json_reason(e)};
  }
}

const Json& list_of(const Json& j, const char* name) {
  if (!j.is_object() || !j.contains(name)) throw BadRequest{400, fmt::format("no \"{}\"", name)};
  if (!j[name].is_array()) throw BadRequest{400, fmt::format("\"{}\": got {}, want a list", name, j[name].type_name())};
  return j[name];
}

Record record_of(const Json& prompt, const Json& response, const Json& label) {
  Record r;
  r.prompt = text_of(prompt);
  r.response = text_of(response);
  r.has_truth = !label.is_null();
  if (r.has_truth) r.ground_truth = text_of(label);
  return r;
}

// OpenRLHF sends the prompt again at the beginning of the query.
Record openrlhf_record(const std::string& query, const Json* prompts, const Json* labels, size_t i) {
  const std::string prompt = prompts != nullptr ? text_of((*prompts)[i]) : "";
  const bool repeated = query.compare(0, prompt.size(), prompt) == 0;
  return record_of(prompt, repeated ? query.substr(prompt.size()) : query, labels != nullptr ? (*labels)[i] : Json());
}

const Json* beside(const Json& j, const char* name, size_t n) {
  if (!j.contains(name) || j[name].is_null()) return nullptr;
  const Json& list = list_of(j, name);
  if (list.size() != n)
    throw BadRequest{400, fmt::format("\"{}\": got {} items, want {} as in \"query\"", name, list.size(), n)};
  return &list;
}

}  // namespace

struct HttpService::State {
  const HttpServiceOptions options;
  ScoringPool& pool;
  Shared& shared;
  httplib::Server server;
  int port = 0;
  std::atomic<uint64_t> refused{0}, requests{0};

  State(const HttpServiceOptions& o, ScoringPool& p, Shared& s) : options(o), pool(p), shared(s) {
    server.new_task_queue = [this] { return new httplib::ThreadPool(static_cast<size_t>(options.connections)); };
    server.set_payload_max_length(options.max_body_bytes);
    server.set_keep_alive_max_count(1000000);
    server.set_keep_alive_timeout(5);
    server.set_tcp_nodelay(true);
    server.set_error_handler([this](const httplib::Request& q, httplib::Response& r) {
      if (!r.body.empty()) return;
      const std::string why =
          r.status == 413   ? fmt::format("the body is larger than {} bytes", options.max_body_bytes)
          : r.status == 404 ? q.method + " " + q.path + ": there are POST /score /get_reward /rm, GET /metrics /health"
                            : "the request cannot be read";
      answer(r, r.status, {{"error", why}});
    });
    post("/score", [this](const auto& q, auto& r) { on_score(q, r); });
    post("/get_reward", [this](const auto& q, auto& r) { on_get_reward(q, r); });
    post("/rm", [this](const auto& q, auto& r) { on_rm(q, r); });
    server.Get("/metrics", [this](const auto&, auto& r) { on_metrics(r); });
    server.Get("/health", [this](const auto&, auto& r) {
      size_t running = 0, queued = 0;
      pool.count(running, queued);
      answer(r, 200, {{"status", "ok"}, {"version", pool.version()}, {"running", running}, {"queued", queued}});
    });
    // The library's default, SO_REUSEPORT, lets a second server share the port in silence.
    server.set_socket_options([](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    port = options.port == 0 ? server.bind_to_any_port(options.host.c_str())
                             : (server.bind_to_port(options.host.c_str(), options.port) ? options.port : -1);
    FULMEN_CHECK(port > 0, fmt::format("cannot listen on {}:{}: in use, or not an address of this machine",
                                       options.host, options.port));
  }

  template <class Work>
  void post(const char* path, Work work) {
    server.Post(path, [this, work](const httplib::Request& q, httplib::Response& r) {
      ++requests;
      try {
        work(q, r);
      } catch (const BadRequest& e) {
        answer(r, e.status, {{"error", e.what}});
        if (e.status == 503) r.set_header("Retry-After", "1");
      } catch (const std::exception& e) {
        base::error("http: {}: {}", q.path, e.what());
        answer(r, 500, {{"error", e.what()}});
      }
    });
  }

  void check_count(const Json& list) const {
    if (list.size() <= options.max_records) return;
    throw BadRequest{413, fmt::format("{} records, want at most {} in a request", list.size(), options.max_records)};
  }

  // Blocks until all have their verdicts; each call of a function has its deadline.
  std::vector<Verdict> score(std::vector<Record> records) {
    std::vector<Verdict> verdicts(records.size());
    if (records.empty()) return verdicts;
    const auto done = std::make_shared<std::latch>(static_cast<std::ptrdiff_t>(records.size()));
    std::vector<ScoringJob> jobs;
    for (size_t i = 0; i < records.size(); ++i) {
      jobs.push_back({std::move(records[i]), 0, [&verdicts, i, done](Verdict v) {
                        verdicts[i] = std::move(v);
                        done->count_down();
                      }});
    }
    if (!pool.push_all(jobs, options.wait_ms)) {
      refused += jobs.size();
      throw BadRequest{
          503, fmt::format("the queue of {} records has been full for {} ms", pool.capacity(), options.wait_ms)};
    }
    done->wait();
    return verdicts;
  }

  void on_score(const httplib::Request& q, httplib::Response& r) {
    const Json body = parse_body(q);
    const Json& list = body.is_array() ? body : list_of(body, "records");
    check_count(list);
    std::vector<Record> records;
    std::vector<size_t> at;
    Json verdicts = Json::array();
    for (size_t i = 0; i < list.size(); ++i) {
      const Json id = list[i].is_object() && list[i].contains("id") ? list[i]["id"] : Json();
      try {
        records.push_back(read_record(list[i]));
        at.push_back(i);
        verdicts.push_back({{"id", id}});
      } catch (const std::exception& e) {  // the others are scored
        const std::string why = fmt::format("record {}: {}", i, json_reason(e));
        verdicts.push_back(write_verdict(id, make_verdict(Kind::kError, 0, why)));
      }
    }
    const std::vector<Verdict> scored = score(std::move(records));
    for (size_t k = 0; k < at.size(); ++k) verdicts[at[k]] = write_verdict(verdicts[at[k]]["id"], scored[k]);
    answer(r, 200, {{"verdicts", std::move(verdicts)}});
  }

  // The number that stands for a verdict where there is no word for anything else.
  static double plain(const httplib::Request& q, const Verdict& v, size_t i) {
    if (v.kind == Kind::kScore) return v.score;
    const bool tellable = v.kind == Kind::kUnparsable || v.kind == Kind::kUndecided;
    if (tellable && !v.truth_at_fault && !q.has_param("strict")) return 0;
    throw BadRequest{500, fmt::format("record {}: {}: {}", i, kind_name(v.kind), v.detail)};
  }

  void on_get_reward(const httplib::Request& q, httplib::Response& r) {
    const Json body = parse_body(q);
    const Json& queries = list_of(body, "query");
    check_count(queries);
    const Json* prompts = beside(body, "prompts", queries.size());
    const Json* labels = beside(body, "labels", queries.size());
    std::vector<Record> records;
    for (size_t i = 0; i < queries.size(); ++i)
      records.push_back(openrlhf_record(text_of(queries[i]), prompts, labels, i));
    const std::vector<Verdict> verdicts = score(std::move(records));
    Json rewards = Json::array();
    for (size_t i = 0; i < verdicts.size(); ++i) rewards.push_back(plain(q, verdicts[i], i));
    answer(r, 200, {{"rewards", rewards}, {"scores", rewards}});
  }

  void on_rm(const httplib::Request& q, httplib::Response& r) {
    const Json body = parse_body(q);
    if (!body.is_object() || !body.contains("response")) throw BadRequest{400, "no \"response\""};
    std::vector<Record> records;
    records.push_back(record_of(body.value("prompt", Json("")), body["response"], body.value("label", Json())));
    answer(r, 200, plain(q, score(std::move(records))[0], 0));
  }

  void on_metrics(httplib::Response& r) {
    size_t running = 0, queued = 0;
    pool.count(running, queued);
    std::string text = shared.metrics.prometheus();
    const auto add = [&](const char* name, const char* type, const char* help, uint64_t value) {
      text += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3}\n", name, help, type, value);
    };
    add("fulmen_reward_queue_length", "gauge", "Records that wait.", queued);
    add("fulmen_reward_queue_capacity", "gauge", "Records that may wait.", pool.capacity());
    add("fulmen_reward_running", "gauge", "Records being scored.", running);
    add("fulmen_reward_http_requests_total", "counter", "POST requests.", requests);
    add("fulmen_reward_refused_total", "counter", "Records refused because the queue was full.", refused);
    r.set_content(text, "text/plain; version=0.0.4");
  }
};

HttpService::HttpService(const HttpServiceOptions& options, ScoringPool& pool, Shared& shared)
    : state_(std::make_unique<State>(options, pool, shared)) {}
HttpService::~HttpService() { stop(); }
int HttpService::port() const { return state_->port; }
void HttpService::run() { FULMEN_CHECK(state_->server.listen_after_bind(), "http: the server could not listen"); }
void HttpService::stop() { state_->server.stop(); }

namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGINT, SIGTERM}) sigaddset(&set, s);
  return set;
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void StopSignals::wait() const {
  const sigset_t set = stop_signals();
  int got = 0;
  sigwait(&set, &got);
}

void parse_address(const std::string& text, HttpServiceOptions& options) {
  const size_t colon = text.rfind(':');
  const std::string port = colon == std::string::npos ? text : text.substr(colon + 1);
  if (colon != std::string::npos && colon > 0) options.host = text.substr(0, colon);
  const bool digits = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
  FULMEN_CHECK(digits && std::stoi(port) <= 65535, "address " + text + ": want HOST:PORT, with PORT up to 65535");
  options.port = std::stoi(port);
}

}  // namespace fulmen::reward
