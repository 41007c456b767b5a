#include "sandboxes/serve.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "sandboxes/error.h"

namespace fulmen::sandboxes {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxHeader = 16 << 20;
constexpr uint64_t kMaxBlobs = uint64_t{1} << 30;

class Stream {
 public:
  Stream(int in, int out) : in_(in), out_(out) {}

  // False at the end of the input.
  bool read_line(std::string& line) {
    for (size_t searched = 0;;) {
      const size_t end = pending_.find('\n', searched);
      if (end != std::string::npos) {
        line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        return true;
      }
      searched = pending_.size();
      if (searched > kMaxHeader || !more()) return false;
    }
  }

  bool read_bytes(std::string& to, size_t n) {
    while (pending_.size() < n) {
      if (!more()) return false;
    }
    to = pending_.substr(0, n);
    pending_.erase(0, n);
    return true;
  }

  void write(const std::string& bytes) {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t n = ::write(out_, bytes.data() + done, bytes.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw_errno("write of a reply");
      done += static_cast<size_t>(n);
    }
  }

 private:
  bool more() {
    static char buffer[1 << 18];
    ssize_t n;
    do {
      n = ::read(in_, buffer, sizeof buffer);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) return false;
    pending_.append(buffer, static_cast<size_t>(n));
    return true;
  }

  int in_, out_;
  std::string pending_;
};

Limits read_limits(Limits l, const Json& j) {
  for (const auto& [key, value] : j.items()) {
    const double v = value.get<double>();
    if (!(v > 0 && v < 1e9)) throw SandboxError("limits." + key + ": got " + value.dump() + ", want a positive number");
    if (key == "cpu_s") {
      l.cpu_s = v;
    } else if (key == "wall_factor") {
      l.wall_factor = v;
    } else if (key == "memory_mb") {
      l.memory_mb = static_cast<uint64_t>(v);
    } else if (key == "output_mb") {
      l.output_mb = static_cast<uint64_t>(v);
    } else if (key == "files_mb") {
      l.files_mb = static_cast<uint64_t>(v);
    } else if (key == "processes") {
      l.processes = static_cast<uint32_t>(v);
    } else if (key == "open_files") {
      l.open_files = static_cast<uint32_t>(v);
    } else if (key == "stack_mb") {
      l.stack_mb = static_cast<uint64_t>(v);
    } else {
      throw SandboxError("limits: unknown key " + key);
    }
  }
  return l;
}

class Server {
 public:
  Server(const std::map<std::string, Profile>& profiles, const SlotOptions& options)
      : profiles_(profiles), options_(options) {}

  // Appends the reply's blobs to `blobs`.
  Json answer(const Json& header, std::vector<std::string> sent, std::string& blobs) {
    const std::string op = header.at("op");
    if (op == "profiles") return languages();
    if (op != "run") throw SandboxError("op: got " + op + ", want run or profiles");
    const Profile& profile = find_profile(profiles_, header.at("language"));
    const bool compile = header.value("stage", "run") == "compile";
    if (compile && profile.compile.empty()) throw SandboxError(profile.language + " has nothing to compile");
    const Limits limits =
        read_limits(compile ? profile.compile_limits : profile.limits, header.value("limits", Json::object()));
    std::vector<RunRequest> requests;
    size_t next = 0;
    auto take = [&]() -> std::string {
      if (next >= sent.size()) throw SandboxError("sizes: fewer than the programs need");
      return std::move(sent[next++]);
    };
    bool warm = false;
    for (const Json& program : header.at("programs")) {
      RunRequest r;
      warm = program.value("warm", false);
      if (warm && profile.warm.empty()) throw SandboxError(profile.language + " has no warm interpreter");
      if (warm) {
        r.payload = take();
      } else {
        r.argv = header.value("argv", compile ? profile.compile : profile.run);
      }
      r.input = take();
      for (const Json& f : program.value("files", Json::array())) {
        r.files.push_back({f.at("path"), take(), f.value("executable", false)});
      }
      r.fetch = header.value("fetch", compile ? profile.artifact : "");
      requests.push_back(std::move(r));
    }
    if (requests.empty() || requests.size() > 2) throw SandboxError("programs: want one or two");
    Slot& slot = slot_for(profile, warm);
    std::vector<RunResult> results;
    if (requests.size() == 1) {
      results.push_back(slot.run(requests[0], limits));
    } else {
      auto [first, second] = slot.run_pair(requests[0], requests[1], limits);
      results.push_back(std::move(first));
      results.push_back(std::move(second));
    }
    return describe(results, blobs);
  }

 private:
  Json languages() const {
    Json list = Json::array();
    for (const auto& [name, p] : profiles_) {
      list.push_back(
          {{"language", name}, {"source", p.source}, {"compiled", !p.compile.empty()}, {"warm", !p.warm.empty()}});
    }
    return {{"languages", list}, {"sizes", Json::array()}};
  }

  // One slot a language for warm programs, one for executed ones.
  Slot& slot_for(const Profile& profile, bool warm) {
    auto& slot = slots_[{profile.language, warm}];
    if (!slot) {
      Profile p = profile;
      if (!warm) p.warm.clear();
      slot = std::make_unique<Slot>(p, options_);
    }
    return *slot;
  }

  static Json describe(const std::vector<RunResult>& results, std::string& blobs) {
    Json list = Json::array(), sizes = Json::array();
    auto put = [&](const std::string& blob) {
      sizes.push_back(blob.size());
      blobs += blob;
    };
    for (const RunResult& r : results) {
      Json fetched = Json::array();
      put(r.out);
      put(r.err);
      put(r.result);
      for (const InputFile& f : r.fetched) {
        fetched.push_back({{"path", f.path}, {"executable", f.executable}});
        put(f.content);
      }
      list.push_back({{"outcome", outcome_name(r.outcome)},
                      {"reason", r.reason},
                      {"exit_code", r.exit_code},
                      {"signal", r.signal},
                      {"cpu_ms", r.cpu_ms},
                      {"wall_ms", r.wall_ms},
                      {"kill_ms", r.kill_ms},
                      {"memory_kb", r.memory_kb},
                      {"fetched", fetched}});
    }
    return {{"results", list}, {"sizes", sizes}};
  }

  const std::map<std::string, Profile>& profiles_;
  SlotOptions options_;
  std::map<std::pair<std::string, bool>, std::unique_ptr<Slot>> slots_;
};

}  // namespace

void serve(int in, int out, const std::map<std::string, Profile>& profiles, const SlotOptions& options) {
  Stream stream(in, out);
  Server server(profiles, options);
  for (std::string line; stream.read_line(line);) {
    Json reply;
    std::string blobs;
    try {
      const Json header = Json::parse(line);
      uint64_t total = 0;
      for (const Json& size : header.at("sizes")) total += size.get<uint64_t>();
      if (total > kMaxBlobs) throw SandboxError("sizes: more than 1 GiB");  // the stream is lost with it
      std::vector<std::string> sent;
      for (const Json& size : header.at("sizes")) {
        sent.emplace_back();
        if (!stream.read_bytes(sent.back(), size.get<uint64_t>())) return;
      }
      reply = server.answer(header, std::move(sent), blobs);
    } catch (const Json::exception& e) {
      reply = {{"error", std::string("not a request: ") + e.what()}, {"sizes", Json::array()}};
    } catch (const SandboxError& e) {
      reply = {{"error", e.what()}, {"sizes", Json::array()}};
    }
    stream.write(reply.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n" + blobs);
  }
}

}  // namespace fulmen::sandboxes
