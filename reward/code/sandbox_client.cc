#include "reward/code/sandbox_client.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/error.h"

namespace fulmen::reward {
namespace {

using Json = nlohmann::json;

constexpr int kAttempts = 3;
// Beyond any wall limit of a run: only a sandbox that is itself stuck passes it.
constexpr std::chrono::hours kStuck{3};

std::string default_executable() {
  std::error_code code;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", code);
  FULMEN_CHECK(!code, "cannot find the directory of this program: /proc/self/exe: " + code.message());
  return (self.parent_path() / "fulmen-sandbox").string();
}

Json limits_of(const SandboxLimits& l) {
  Json j = Json::object();
  auto put = [&](const char* name, double value) {
    if (value > 0) j[name] = value;
  };
  put("cpu_s", l.cpu_s);
  put("memory_mb", l.memory_mb);
  put("output_mb", l.output_mb);
  put("files_mb", l.files_mb);
  put("processes", l.processes);
  return j;
}

Outcome parse_outcome(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(Outcome::kSandboxError); i++) {
    if (name == outcome_name(static_cast<Outcome>(i))) return static_cast<Outcome>(i);
  }
  throw Error("fulmen-sandbox: unknown outcome " + name);
}

std::string encode(const SandboxRequest& r) {
  Json header{{"op", "run"}, {"language", r.language}, {"limits", limits_of(r.limits)}, {"programs", Json::array()}};
  if (r.compile) header["stage"] = "compile";
  if (!r.command.empty()) header["argv"] = r.command;
  if (!r.fetch.empty()) header["fetch"] = r.fetch;
  Json sizes = Json::array();
  std::string blobs;
  auto put = [&](const std::string& blob) {
    sizes.push_back(blob.size());
    blobs += blob;
  };
  for (const SandboxProgram& p : r.programs) {
    Json files = Json::array();
    if (p.warm) put(p.payload);
    put(p.input);
    for (const SandboxFile& f : p.files) {
      files.push_back({{"path", f.path}, {"executable", f.executable}});
      put(f.content);
    }
    header["programs"].push_back({{"warm", p.warm}, {"files", files}});
  }
  header["sizes"] = sizes;
  return header.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n" + blobs;
}

}  // namespace

const char* outcome_name(Outcome o) {
  constexpr const char* kNames[] = {"OK", "RE", "TLE", "MLE", "OLE", "SE"};
  return kNames[static_cast<int>(o)];
}

SandboxClient::SandboxClient(SandboxOptions options) : options_(std::move(options)) {
  if (options_.executable.empty()) options_.executable = default_executable();
}

void SandboxClient::start() {
  if (process_.running()) return;
  std::vector<std::string> words{options_.executable, "--cgroup", options_.cgroup};
  for (const std::string& p : options_.profiles) words.insert(words.end(), {"--profile", p});
  words.push_back("serve");
  process_.start(words, RLIM_INFINITY);
}

const SandboxLanguage& SandboxClient::language(const std::string& name) {
  if (languages_.empty()) {
    start();
    std::string line;
    const auto deadline = ChildProcess::Clock::now() + std::chrono::seconds(30);
    if (process_.exchange(R"({"op":"profiles","sizes":[]})", line, deadline) != ChildProcess::Result::kLine) {
      throw Error(options_.executable + " " + process_.kill() + " (try `fulmen doctor sandbox`)");
    }
    const Json list = Json::parse(line);
    for (const Json& l : list.at("languages")) {
      languages_.push_back({l.at("language"), l.at("source"), l.at("compiled"), l.at("warm")});
    }
  }
  std::string known;
  for (const SandboxLanguage& l : languages_) {
    if (l.name == name) return l;
    known += (known.empty() ? "" : ", ") + l.name;
  }
  throw Error("language: got " + name + ", want one of " + known);
}

std::vector<SandboxReport> SandboxClient::run(const SandboxRequest& request) {
  std::vector<SandboxReport> reports;
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    reports = run_once(request);
    bool good = true;
    for (const SandboxReport& r : reports) good &= r.outcome != Outcome::kSandboxError;
    if (good) break;
  }
  return reports;
}

std::vector<SandboxReport> SandboxClient::run_once(const SandboxRequest& request) {
  std::vector<SandboxReport> reports(request.programs.size());
  auto broken = [&](const std::string& why) {
    for (SandboxReport& r : reports) r = SandboxReport{.reason = why};
    return reports;
  };
  start();
  const auto deadline = ChildProcess::Clock::now() + kStuck;
  std::string line;
  auto result = process_.write_all(encode(request), deadline);
  if (result == ChildProcess::Result::kLine) result = process_.read_line(line, deadline);
  if (result != ChildProcess::Result::kLine) return broken("fulmen-sandbox " + process_.kill());
  const Json reply = Json::parse(line);
  if (reply.contains("error")) throw Error("fulmen-sandbox: " + reply["error"].get<std::string>());
  size_t next = 0;
  bool whole = true;
  auto take = [&](std::string& to) {
    const size_t size = reply.at("sizes").at(next++);
    whole = whole && process_.read_bytes(to, size, deadline) == ChildProcess::Result::kLine;
  };
  for (size_t i = 0; i < reports.size(); i++) {
    const Json& j = reply.at("results").at(i);
    SandboxReport& r = reports[i];
    r.outcome = parse_outcome(j.at("outcome"));
    r.reason = j.at("reason");
    r.cpu_ms = j.at("cpu_ms");
    r.wall_ms = j.at("wall_ms");
    r.kill_ms = j.at("kill_ms");
    r.memory_kb = j.at("memory_kb");
    take(r.out);
    take(r.err);
    take(r.result);
    for (const Json& f : j.at("fetched")) {
      r.fetched.push_back({f.at("path"), "", f.at("executable")});
      take(r.fetched.back().content);
    }
  }
  return whole ? reports : broken("fulmen-sandbox " + process_.kill());
}

}  // namespace fulmen::reward
