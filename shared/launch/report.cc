#include "shared/launch/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "shared/base/config.h"
#include "shared/base/file.h"
#include "shared/launch/arguments.h"
#include "shared/launch/run_record.h"

namespace fulmen::launch {
namespace {

using nlohmann::json;

constexpr size_t kStepsToRead = 12, kEpisodesPerStep = 4;
constexpr size_t kHeadBytes = 6000, kTailBytes = 2000;  // of a long completion: how it starts and how it ends

json finite(double x) { return std::isfinite(x) ? json(x) : json(nullptr); }

// A step has several lines when an evaluation adds its own; the later value of a name counts, except for accuracies,
// which may be measured twice at one step (before and after the cold start) and are kept in order.
json curves(const std::vector<MetricsLine>& lines) {
  std::map<int64_t, base::Metrics> by_step;
  json accuracy = json::array();
  for (const MetricsLine& line : lines) {
    for (const auto& [name, value] : line.values) {
      if (name.starts_with("val-core/")) {
        accuracy.push_back({{"name", name}, {"step", line.step}, {"value", finite(value)}});
      } else {
        by_step[line.step][name] = value;
      }
    }
  }
  std::map<std::string, std::vector<json>> series;
  json steps = json::array();
  for (const auto& [step, values] : by_step) {
    for (const auto& [name, value] : values) {
      series[name].resize(steps.size(), nullptr);
      series[name].push_back(finite(value));
    }
    steps.push_back(step);
  }
  for (auto& [name, values] : series) values.resize(steps.size(), nullptr);
  return {{"steps", steps}, {"series", series}, {"accuracy", accuracy}};
}

std::string shorten(const std::string& text) {
  if (text.size() <= kHeadBytes + kTailBytes) return text;
  const auto is_inside_character = [&](size_t i) { return (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80; };
  size_t head = kHeadBytes, tail = text.size() - kTailBytes;
  while (head > 0 && is_inside_character(head)) --head;
  while (tail < text.size() && is_inside_character(tail)) ++tail;
  return fmt::format("{}\n\n[... {} bytes left out ...]\n\n{}", text.substr(0, head), tail - head, text.substr(tail));
}

json episode_json(const EpisodeLine& e) {
  return {{"step", e.step},
          {"prompt_id", e.prompt_id},
          {"sample_index", e.sample_index},
          {"tokens", e.tokens},
          {"prompt", shorten(e.prompt)},
          {"completion", shorten(e.completion)},
          {"ground_truth", shorten(e.ground_truth)},
          {"verdict", e.verdict},
          {"finish", e.finish},
          {"score", e.score ? json(*e.score) : json(nullptr)},
          {"mean_logprob", finite(e.mean_logprob)}};
}

// The best and the worst of a step, then others from its middle.
json pick_episodes(std::vector<EpisodeLine> episodes) {
  const auto score = [](const EpisodeLine& e) { return e.score.value_or(-INFINITY); };
  std::stable_sort(episodes.begin(), episodes.end(), [&](auto& a, auto& b) { return score(a) > score(b); });
  const size_t count = std::min(episodes.size(), kEpisodesPerStep);
  json picked = json::array();
  for (size_t i = 0; i < count; ++i) {
    picked.push_back(episode_json(episodes[count == 1 ? 0 : i * (episodes.size() - 1) / (count - 1)]));
  }
  return picked;
}

json episodes(const std::string& run_dir) {
  const std::vector<int64_t> steps = episode_steps(run_dir);
  const size_t count = std::min(steps.size(), kStepsToRead);
  json all = json::array();
  for (size_t i = 0; i < count; ++i) {
    const int64_t step = steps[count == 1 ? 0 : i * (steps.size() - 1) / (count - 1)];
    all.push_back({{"step", step}, {"episodes", pick_episodes(read_episodes(run_dir, step))}});
  }
  return all;
}

// "section:" lines and "  key: value" lines of to_yaml as [key, value] pairs.
std::vector<std::pair<std::string, std::string>> key_values(const std::string& yaml) {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::string section;
  for (size_t begin = 0; begin < yaml.size();) {
    const size_t end = yaml.find('\n', begin), colon = yaml.find(':', begin);
    if (yaml[begin] != ' ') {
      section = yaml.substr(begin, colon - begin);
    } else {
      pairs.emplace_back(section + "." + yaml.substr(begin + 2, colon - begin - 2),
                         yaml.substr(colon + 2, end - colon - 2));
    }
    begin = end + 1;
  }
  return pairs;
}

json configuration(const std::string& run_dir) {
  const std::string path = run_dir + "/config.resolved.yaml";
  if (!std::filesystem::exists(path)) return {{"missing", path + " does not exist"}};
  try {
    const base::Config config = base::load_config(path, {});
    const auto values = key_values(base::to_yaml(config, false)),
               defaults = key_values(base::to_yaml(base::Config{}, false));
    json keys = json::array();
    for (size_t i = 0; i < values.size(); ++i) {
      keys.push_back({values[i].first, values[i].second, values[i].second != defaults[i].second});
    }
    return {{"keys", keys}, {"hash", base::config_hash(config)}};
  } catch (const base::ConfigError& e) {
    return {{"missing", e.what()}};  // a run of another version: its curves can still be read, and the page says why
  }
}

}  // namespace

std::string render_report(const std::string& run_dir) {
  json data = curves(read_metrics(run_dir));
  data["run"] = run_dir;
  data["version"] = FULMEN_VERSION;
  data["config"] = configuration(run_dir);
  data["read"] = episodes(run_dir);
  std::string text = data.dump(-1, ' ', false, json::error_handler_t::replace);
  for (size_t at = 0; (at = text.find('<', at)) != std::string::npos;) text.replace(at, 1, "\\u003c");  // no </script>
  std::string page = report_page();
  const std::string mark = "__DATA__";
  return page.replace(page.find(mark), mark.size(), text);
}

int run_report(const std::vector<std::string>& words) {
  const Usage usage{"report",
                    "Writes RUN/report.html: curves, facts and completions to read, in one page that needs no network.",
                    {"RUN"},
                    {{"--out", "FILE", "write there instead"}}};
  const Arguments a = parse_arguments(usage, words);
  if (a.help) {
    fmt::print("{}", usage_text(usage));
    return 0;
  }
  std::string run_dir = a.positionals[0];
  while (run_dir.size() > 1 && run_dir.back() == '/') run_dir.pop_back();
  const std::string path = a.has("--out") ? a.options.at("--out") : run_dir + "/report.html";
  base::write_file_atomic(path, render_report(run_dir));
  fmt::print("{}\n", path);
  return 0;
}

}  // namespace fulmen::launch
