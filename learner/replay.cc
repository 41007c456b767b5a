#include "learner/replay.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "learner/run_checkpoint.h"
#include "learner/train_run.h"
#include "shared/base/config.h"
#include "shared/base/file.h"
#include "shared/base/metrics.h"

namespace fulmen::learner {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::istringstream text(base::read_file(path));
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

// The line of the step itself; evaluations write lines of their own.
json metrics_of(const std::string& run_dir, int64_t step) {
  for (const std::string& line : lines_of(run_dir + "/metrics.jsonl")) {
    const json j = json::parse(line, nullptr, false);
    if (j.is_object() && j.value("step", int64_t{-1}) == step && j.contains("training/global_step")) return j;
  }
  throw Error(run_dir + "/metrics.jsonl has no step " + std::to_string(step) + " to compare with");
}

// "" or the first name whose value differs.
std::string first_difference(const json& want, const json& got) {
  for (const auto& [name, value] : want.items())
    if (!base::is_of_the_clock(name) && got.value(name, json()) != value)
      return fmt::format("{}: recorded {}, replayed {}", name, value.dump(), got.value(name, json()).dump());
  return "";
}

void compare_metrics(const std::string& want, const std::string& got, int64_t step, Replay& r) {
  const json recorded = metrics_of(want, step);
  int64_t compared = 0;
  for (const auto& [name, value] : recorded.items()) compared += !base::is_of_the_clock(name);
  const std::string differs = first_difference(recorded, metrics_of(got, step));
  if (!differs.empty()) r.same = false;
  r.text += differs.empty() ? fmt::format("metrics    {} numbers, all the same (times aside)\n", compared)
                            : fmt::format("metrics    differ: {}\n", differs);
}

void compare_episodes(const std::string& want, const std::string& got, int64_t step, Replay& r) {
  const std::string name = fmt::format("/episodes/step_{}.jsonl", step);
  if (!fs::exists(want + name)) {
    r.text += "episodes   not recorded (log.episodes_per_step)\n";
    return;
  }
  const auto recorded = lines_of(want + name), again = lines_of(got + name);
  for (size_t i = 0; i < recorded.size(); ++i) {
    if (i < again.size() && recorded[i] == again[i]) continue;
    r.same = false;
    const json a = json::parse(recorded[i]), b = i < again.size() ? json::parse(again[i]) : json::object();
    r.text += fmt::format("episodes   differ, first: prompt {} sample {}: {}\n", a.value("prompt_id", int64_t{-1}),
                          a.value("sample_index", -1), first_difference(a, b));
    return;
  }
  r.text += fmt::format("episodes   {} recorded, all the same: token ids and log-prob bits, verdicts, advantages\n",
                        recorded.size());
}

void compare_weights(const std::string& want, const std::string& got, int64_t step, Replay& r) {
  const std::string name = fmt::format("/checkpoints/step_{}/state.json", step);
  if (!fs::exists(want + name)) {
    r.text += fmt::format("weights    not recorded: {} keeps no checkpoint of step {}\n", want, step);
    return;
  }
  const json recorded = json::parse(base::read_file(want + name)).at("files"),
             again = json::parse(base::read_file(got + name)).at("files");
  const std::string differs = first_difference(recorded, again);
  if (!differs.empty()) r.same = false;
  r.text += differs.empty()
                ? fmt::format("weights    {} files of weights and moments, all the same bytes\n", recorded.size())
                : fmt::format("weights    differ: {}\n", differs);
}

void copy_by_link(const fs::path& from, const fs::path& to) {
  base::make_directories(to);
  for (const auto& entry : fs::recursive_directory_iterator(from)) {
    const fs::path target = to / fs::relative(entry.path(), from);
    std::error_code failed;
    if (entry.is_directory()) {
      base::make_directories(target);
    } else {
      fs::create_hard_link(entry.path(), target, failed);
      if (failed) fs::copy_file(entry.path(), target);
    }
  }
}

}  // namespace

Replay compare_step(const std::string& want, const std::string& got, int64_t step) {
  Replay r{true, ""};
  compare_episodes(want, got, step, r);
  compare_metrics(want, got, step, r);
  compare_weights(want, got, step, r);
  return r;
}

Replay replay_step(const std::string& run_dir, int64_t step, const std::vector<std::string>& overrides) {
  base::Config config = base::load_config(run_dir + "/config.resolved.yaml", overrides);
  metrics_of(run_dir, step);  // or there is nothing to compare with
  int64_t from = -1;
  std::vector<int64_t> kept;
  for (const int64_t s : checkpoint_steps(run_dir)) {
    kept.push_back(s);
    if (s < step) from = std::max(from, s);
  }
  if (from < 0)
    throw Error(
        fmt::format("step {} cannot be replayed: {} keeps checkpoints of the steps [{}], want one before it; "
                    "checkpoint.every and checkpoint.keep keep more",
                    step, run_dir, fmt::join(kept, ", ")));
  const std::string name = "/checkpoints/step_" + std::to_string(from), scratch = run_dir + "/replay";
  base::remove_all(scratch);
  copy_by_link(run_dir + name, scratch + name);
  config.run.dir = scratch;
  config.reward.on_alarm = "warn";  // what the step raised it raised then
  run_until(config, step);
  Replay r = compare_step(run_dir, scratch, step);
  r.text = fmt::format("step {} of {}, replayed from its checkpoint of step {}{}{}\n", step, run_dir, from,
                       overrides.empty() ? "" : fmt::format(" with {}", fmt::join(overrides, " ")), ":") +
           r.text;
  if (r.same)
    base::remove_all(scratch);
  else
    r.text += "what was replayed lies in " + scratch + "\n";
  return r;
}

}  // namespace fulmen::learner
