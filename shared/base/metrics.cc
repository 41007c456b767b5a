#include "shared/base/metrics.h"

#include <fmt/format.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>

#include "kernels/error.h"
#include "shared/base/event_file.h"
#include "shared/base/file.h"
#include "shared/base/log.h"

namespace fulmen::base {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// The lines of `text` with step <= last_step. A broken last line is what a killed run leaves; elsewhere it is an error.
std::string lines_to_keep(const std::string& path, std::string_view text, int64_t last_step) {
  std::string kept;
  int64_t number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    ++number;
    const auto json = nlohmann::json::parse(line, nullptr, false);
    const bool good =
        end != std::string_view::npos && json.is_object() && json.contains("step") && json["step"].is_number_integer();
    if (!good) {
      FULMEN_CHECK(text.empty(), fmt::format("{}:{}: not a metrics line, want {{\"step\":N,...}}", path, number));
      warn("{}:{}: dropped a torn last line", path, number);
    } else if (json["step"].get<int64_t>() <= last_step) {
      kept.append(line).push_back('\n');
    }
  }
  return kept;
}

}  // namespace

bool is_of_the_clock(std::string_view name) {
  for (const char* prefix :
       {"timing_s/", "timing_per_token_ms/", "perf/", "sync/", "training/reissued", "training/workers_lost"}) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

struct MetricsWriter::State {
  std::string path;
  std::unique_ptr<std::FILE, CloseFile> file;
  std::optional<EventFile> events;
};

MetricsWriter::MetricsWriter(const std::string& run_dir, int64_t last_step, bool tensorboard)
    : state_(std::make_unique<State>()) {
  make_directories(run_dir);
  state_->path = run_dir + "/metrics.jsonl";
  if (std::filesystem::exists(state_->path)) {
    const std::string text = read_file(state_->path);
    const std::string kept = lines_to_keep(state_->path, text, last_step);
    if (kept != text) write_file_atomic(state_->path, kept);
  }
  state_->file.reset(std::fopen(state_->path.c_str(), "abe"));
  FULMEN_CHECK(state_->file != nullptr, state_->path + ": cannot open: " + std::system_category().message(errno));
  if (tensorboard) state_->events.emplace(run_dir + "/tensorboard", last_step + 1);
}

MetricsWriter::~MetricsWriter() = default;

void MetricsWriter::write(int64_t step, const Metrics& m) {
  std::string line = fmt::format("{{\"step\":{}", step);
  for (const auto& [name, value] : m) {
    line += fmt::format(",{}:", nlohmann::json(name).dump());
    line += std::isfinite(value) ? fmt::format("{}", value) : "null";  // JSON has no NaN
  }
  line += "}\n";
  const bool written = std::fwrite(line.data(), 1, line.size(), state_->file.get()) == line.size();
  FULMEN_CHECK(
      written && std::fflush(state_->file.get()) == 0,
      state_->path + ": cannot write step " + std::to_string(step) + ": " + std::system_category().message(errno));
  if (!state_->events) return;
  for (const auto& [name, value] : m) {
    if (std::isfinite(value)) state_->events->scalar(name, static_cast<float>(value), step);
  }
  state_->events->flush();
}

}  // namespace fulmen::base
