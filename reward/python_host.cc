#include "reward/python_host.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/error.h"
#include "reward/child_process.h"
#include "reward/python_bootstrap.h"
#include "shared/base/file.h"
#include "shared/base/log.h"

namespace fulmen::reward {
namespace {

using nlohmann::json;
using Clock = ChildProcess::Clock;

constexpr int kFirstPauseMs = 100;

std::string dump(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace); }

class PythonHost : public Function {
 public:
  PythonHost(std::string file, std::string function, const PythonOptions& options)
      : file_(std::move(file)), name_(std::move(function)), options_(options) {
    std::string why = start();
    FULMEN_CHECK(why.empty(), why);
    const std::string code = base::read_file(file_);
    version_ = name_ + "@" + base::hex(base::digest128(code.data(), code.size())).substr(0, 12);
  }

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_reasoning() const override { return true; }
  bool wants_truth() const override { return wants_truth_; }

  Verdict score(const Record& r) override {
    Verdict v;
    v.kind = Kind::kError;
    if (!child_.running()) {
      pause();
      v.detail = start();
      if (!v.detail.empty()) return failed(std::move(v));
    }
    std::string line;
    auto deadline = Clock::now() + std::chrono::milliseconds(options_.deadline_ms);
    switch (child_.exchange(request(r), line, deadline)) {
      case ChildProcess::Result::kTimeout:
        child_.kill();
        v.kind = Kind::kTimeout;
        v.detail = fmt::format("no answer within {} ms; the process was killed", options_.deadline_ms);
        return failed(std::move(v));
      case ChildProcess::Result::kGone:
        v.detail = fmt::format("the Python process {} while scoring this record", child_.kill());
        return failed(std::move(v));
      case ChildProcess::Result::kLine:
        return read(line);
    }
    return v;
  }

 private:
  // Empty, or what is wrong; then no process is left.
  std::string start() {
    const char* chosen = std::getenv("FULMEN_PYTHON");
    std::string python = chosen ? chosen : "python3", line;
    try {
      child_.start({python, "-c", kPythonBootstrap, file_, name_}, options_.memory_bytes);
    } catch (const Error& e) {
      return e.what();
    }
    auto deadline = Clock::now() + std::chrono::milliseconds(options_.start_ms);
    auto result = child_.read_line(line, deadline);
    std::string where = fmt::format("reward python:{}:{}: ", file_, name_);
    if (result == ChildProcess::Result::kTimeout) {
      child_.kill();
      return where + fmt::format("did not load within {} ms", options_.start_ms);
    }
    if (result == ChildProcess::Result::kGone) return where + "while loading, Python " + child_.kill();
    json reply = json::parse(line, nullptr, false);
    if (reply.is_object() && reply.value("ready", false)) {
      wants_truth_ = reply.value("truth", true);
      return "";
    }
    child_.kill();
    return where + (reply.is_object() ? reply.value("error", "no reason given") : "unreadable answer: " + line);
  }

  Verdict failed(Verdict v) {
    failures_++;
    base::warn("reward {}: {} ({} in a row)", name_, v.detail, failures_);
    return v;
  }

  // The first restart is at once; a function that dies every time does not become a fork loop.
  void pause() {
    if (failures_ < 2) return;
    int ms = kFirstPauseMs << std::min(failures_ - 2, 10);
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(ms, options_.max_pause_ms)));
  }

  std::string request(const Record& r) {
    json extra = json::parse(r.extra_info, nullptr, false);
    return dump({{"id", ++calls_},
                 {"data_source", r.data_source},
                 {"prompt", r.prompt},
                 {"response", r.response},
                 {"answer", r.ground_truth},
                 {"extra_info", extra.is_object() ? extra : json::object()}});
  }

  Verdict read(const std::string& line) {
    Verdict v;
    v.kind = Kind::kError;
    json reply = json::parse(line, nullptr, false);
    if (!reply.is_object() || reply.value("id", json()) != calls_) {
      child_.kill();
      v.detail = "an answer that is not to this record: " + line.substr(0, 200);
      return failed(std::move(v));
    }
    failures_ = 0;
    if (reply.contains("error")) {
      v.detail = reply["error"].get<std::string>();
      return v;
    }
    v.kind = Kind::kScore;
    v.score = reply.at("score").get<double>();
    for (const auto& [key, value] : reply.at("extra").items()) v.components.emplace_back(key, value.get<double>());
    return v;
  }

  std::string file_, name_, version_;
  PythonOptions options_;
  ChildProcess child_;
  uint64_t calls_ = 0;
  int failures_ = 0;
  bool wants_truth_ = true;
};

}  // namespace

std::unique_ptr<Function> make_python(const std::string& file, const std::string& function,
                                      const PythonOptions& options) {
  return std::make_unique<PythonHost>(file, function, options);
}

}  // namespace fulmen::reward
