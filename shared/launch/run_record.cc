#include "shared/launch/run_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/error.h"
#include "shared/base/file.h"

namespace fulmen::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void for_each_line(const std::string& path, const std::function<void(const json&)>& visit) {
  std::istringstream text(base::read_file(path));
  int64_t number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    const bool last = text.eof();  // no newline after it: still being written
    const json object = json::parse(line, nullptr, false);
    if (object.is_object()) {
      visit(object);
    } else {
      FULMEN_CHECK(last, fmt::format("{}:{}: not a JSON object", path, number));
    }
  }
}

// Files episodes/step_N.jsonl by N; leading zeros are allowed.
std::map<int64_t, std::string> episode_files(const std::string& run_dir) {
  std::map<int64_t, std::string> files;
  const std::string directory = run_dir + "/episodes", prefix = "step_", suffix = ".jsonl";
  if (!fs::is_directory(directory)) return files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    const char* begin = name.data() + prefix.size();
    const char* end = name.data() + name.size() - suffix.size();
    int64_t step = 0;
    const auto parsed = std::from_chars(begin, end, step);
    if (parsed.ec == std::errc() && parsed.ptr == end) files[step] = entry.path().string();
  }
  return files;
}

std::string text_of(const json& object, const char* key) {
  const auto value = object.find(key);
  if (value == object.end() || value->is_null()) return "";
  return value->is_string() ? value->get<std::string>() : value->dump();
}

double number_of(const json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_number() ? value->get<double>() : 0;
}

}  // namespace

std::vector<MetricsLine> read_metrics(const std::string& run_dir) {
  const std::string path = run_dir + "/metrics.jsonl";
  FULMEN_CHECK(fs::exists(path), run_dir + ": not a run directory: want " + path);
  std::vector<MetricsLine> lines;
  for_each_line(path, [&](const json& object) {
    MetricsLine line;
    for (const auto& [name, value] : object.items()) {
      if (name == "step") {
        line.step = value.get<int64_t>();
      } else if (value.is_number()) {
        line.values[name] = value.get<double>();
      } else if (value.is_null()) {
        line.values[name] = std::nan("");
      }
    }
    lines.push_back(std::move(line));
  });
  return lines;
}

std::vector<int64_t> episode_steps(const std::string& run_dir) {
  std::vector<int64_t> steps;
  for (const auto& [step, path] : episode_files(run_dir)) steps.push_back(step);
  return steps;
}

std::vector<EpisodeLine> read_episodes(const std::string& run_dir, int64_t step) {
  const auto files = episode_files(run_dir);
  const auto file = files.find(step);
  FULMEN_CHECK(file != files.end(), fmt::format("{}/episodes has no step {}", run_dir, step));
  std::vector<EpisodeLine> episodes;
  for_each_line(file->second, [&](const json& object) {
    EpisodeLine e;
    e.step = step;
    e.prompt_id = static_cast<int64_t>(number_of(object, "prompt_id"));
    e.sample_index = static_cast<int64_t>(number_of(object, "sample_index"));
    e.tokens = static_cast<int64_t>(number_of(object, "tokens"));
    e.mean_logprob = number_of(object, "mean_logprob");
    e.prompt = text_of(object, "prompt");
    e.completion = text_of(object, "completion");
    e.ground_truth = text_of(object, "ground_truth");
    e.verdict = text_of(object, "verdict");
    e.finish = text_of(object, "finish");
    if (object.contains("score") && object["score"].is_number()) e.score = object["score"].get<double>();
    episodes.push_back(std::move(e));
  });
  return episodes;
}

}  // namespace fulmen::launch
