// fulmen-reward-library FILE.so: a library with the interface of fulmen_reward.h behind the JSON lines of line_host.h.

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "reward/fulmen_reward.h"
#include "reward/record_json.h"

namespace {

using namespace fulmen;
using reward::Json;

// The protocol's descriptors, moved away so that the library's prints go to stderr and its reads find nothing.
struct Protocol {
  std::FILE* in = nullptr;
  std::FILE* out = nullptr;
  Protocol() : in(fdopen(dup(0), "rb")), out(fdopen(dup(1), "wb")) {
    const int null = open("/dev/null", O_RDONLY);
    FULMEN_CHECK(in != nullptr && out != nullptr && null >= 0 && dup2(null, 0) == 0 && dup2(2, 1) == 1,
                 std::string("cannot set up the protocol: ") + strerror(errno));
    close(null);
  }
  bool read(std::string& line) const {
    char* text = nullptr;
    size_t room = 0;
    const ssize_t n = getline(&text, &room, in);
    if (n > 0) line.assign(text, static_cast<size_t>(n));
    free(text);
    return n > 0;
  }
  void write(const Json& j) const {
    const std::string line = reward::dump_json(j) + "\n";
    if (std::fwrite(line.data(), 1, line.size(), out) != line.size() || std::fflush(out) != 0) std::exit(1);
  }
};

const fulmen_reward_functions* load(const char* file) {
  void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  FULMEN_CHECK(library != nullptr, dlerror());
  using Entry = const fulmen_reward_functions* (*)(uint32_t);
  const auto entry = reinterpret_cast<Entry>(dlsym(library, "fulmen_reward_library"));
  FULMEN_CHECK(entry != nullptr, std::string(file) + " does not export fulmen_reward_library");
  const fulmen_reward_functions* f = entry(FULMEN_REWARD_ABI);
  FULMEN_CHECK(f != nullptr && f->abi == FULMEN_REWARD_ABI, fmt::format("{}: interface version: got {}, want {}", file,
                                                                        f != nullptr ? f->abi : 0, FULMEN_REWARD_ABI));
  FULMEN_CHECK(f->struct_bytes >= sizeof(fulmen_reward_functions) && f->score != nullptr,
               fmt::format("{}: got a table of {} bytes, want {} with score in it", file, f->struct_bytes,
                           sizeof(fulmen_reward_functions)));
  return f;
}

fulmen_reward_text text(const std::string& s) { return {s.c_str(), s.size()}; }

reward::Verdict verdict_of(const fulmen_reward_verdict& v) {
  constexpr uint32_t kMost = sizeof v.component / sizeof v.component[0];
  FULMEN_CHECK(v.kind == FULMEN_REWARD_SCORE || (v.kind >= FULMEN_REWARD_ERROR && v.kind <= FULMEN_REWARD_UNDECIDED),
               fmt::format("the library gave the verdict {}, which there is not", v.kind));
  FULMEN_CHECK(v.components <= kMost, fmt::format("the library gave {} components, want <= {}", v.components, kMost));
  const std::string detail(v.detail, strnlen(v.detail, sizeof v.detail));
  reward::Verdict out = reward::make_verdict(static_cast<reward::Kind>(v.kind), v.score, detail);
  for (uint32_t i = 0; i < v.components; ++i) {
    const auto& c = v.component[i];
    out.components.emplace_back(std::string(c.name, strnlen(c.name, sizeof c.name)), c.score);
  }
  return out;
}

Json score(const fulmen_reward_functions& f, void* state, const Json& list) {
  std::vector<reward::Record> records;
  for (const Json& j : list) records.push_back(reward::read_record(j));
  std::vector<fulmen_reward_record> in;
  for (const reward::Record& r : records) {
    const fulmen_reward_text truth = r.has_truth ? text(r.ground_truth) : fulmen_reward_text{nullptr, 0};
    in.push_back({sizeof(fulmen_reward_record), r.deadline_ms, r.tokens, text(r.kind), text(r.data_source),
                  text(r.prompt), text(r.response), truth, text(r.extra_info)});
  }
  std::vector<fulmen_reward_verdict> out(records.size());
  for (auto& v : out) v.struct_bytes = sizeof v;
  const int rc = f.score(state, in.data(), in.size(), out.data());
  Json verdicts = Json::array();
  for (const auto& v : out) {
    try {
      FULMEN_CHECK(rc == 0, fmt::format("the library returned {}", rc));
      verdicts.push_back(reward::write_verdict(nullptr, verdict_of(v)));
    } catch (const std::exception& e) {
      verdicts.push_back({{"error", e.what()}});
    }
  }
  return verdicts;
}

}  // namespace

int main(int argc, char** argv) {
  const Protocol protocol;
  const fulmen_reward_functions* f = nullptr;
  try {
    FULMEN_CHECK(argc == 2, "usage: fulmen-reward-library FILE.so");
    f = load(argv[1]);
  } catch (const std::exception& e) {
    protocol.write({{"error", e.what()}});
    return 2;
  }
  void* state = f->open != nullptr ? f->open() : nullptr;
  protocol.write({{"ready", true}, {"truth", f->no_truth == 0}, {"batch", std::max(1u, f->batch)}});
  for (std::string line; protocol.read(line);) {
    const Json request = reward::parse_json(line);
    protocol.write({{"id", request.at("id")}, {"verdicts", score(*f, state, request.at("records"))}});
  }
  if (f->close != nullptr) f->close(state);
  return 0;
}
