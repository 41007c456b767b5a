#include "shared/launch/top.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <thread>

#include "kernels/error.h"
#include "shared/base/progress.h"
#include "shared/launch/arguments.h"
#include "shared/launch/run_record.h"

namespace fulmen::launch {
namespace {

constexpr size_t kHistory = 40;

struct Row {
  const char* name;
  const char* label;
};

constexpr Row kRows[] = {{"critic/rewards/mean", "reward, mean"},
                         {"response_length/mean", "completion length, tokens"},
                         {"actor/entropy", "entropy, nats"},
                         {"actor/grad_norm", "gradient norm"},
                         {"cispo/clipfrac_high", "share of ratios clipped"},
                         {"numerics/bits_differing", "tokens whose bits differ"},
                         {"training/rollout_actor_probs_pearson_corr", "correlation of probabilities"},
                         {"timing_s/step", "seconds a step"},
                         {"perf/throughput", "tokens a second"}};

std::vector<double> history_of(const std::vector<MetricsLine>& lines, const std::string& name) {
  std::vector<double> values;
  for (const MetricsLine& line : lines) {
    const auto value = line.values.find(name);
    if (value != line.values.end() && std::isfinite(value->second)) values.push_back(value->second);
  }
  return values;
}

std::string sparkline(const std::vector<double>& values) {
  static constexpr const char* kCells[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const size_t first = values.size() > kHistory ? values.size() - kHistory : 0;
  const auto [low, high] = std::minmax_element(values.begin() + static_cast<ptrdiff_t>(first), values.end());
  std::string text;
  for (size_t i = first; i < values.size(); ++i) {
    const double share = *high > *low ? (values[i] - *low) / (*high - *low) : 0;
    text += kCells[static_cast<int>(std::lround(share * 7))];
  }
  return text;
}

std::string row_text(const std::string& label, const std::vector<double>& values) {
  return fmt::format("  {:<30} {:>12.6g}  {}\n", label, values.back(), sparkline(values));
}

}  // namespace

std::string render_top(const std::string& run_dir) {
  const std::vector<MetricsLine> lines = read_metrics(run_dir);
  if (lines.empty()) return run_dir + ": no step yet\n";
  const auto written = std::filesystem::last_write_time(run_dir + "/metrics.jsonl");
  const double age = std::chrono::duration<double>(std::filesystem::file_time_type::clock::now() - written).count();
  std::string text =
      fmt::format("{}: step {}, written {} ago\n", run_dir, lines.back().step, base::format_duration(age));
  for (const Row& row : kRows) {
    const std::vector<double> values = history_of(lines, row.name);
    if (!values.empty()) text += row_text(row.label, values);
  }
  std::vector<std::string> accuracies;
  for (const MetricsLine& line : lines) {
    for (const auto& [name, value] : line.values) {
      const bool known = std::count(accuracies.begin(), accuracies.end(), name) != 0;
      if (name.starts_with("val-core/") && !known) accuracies.push_back(name);
    }
  }
  for (const std::string& name : accuracies) {
    const std::vector<double> values = history_of(lines, name);
    if (!values.empty()) text += row_text(name.substr(9), values);
  }
  return text;
}

int run_top(const std::vector<std::string>& words) {
  const Usage usage{
      "top",
      "Shows the newest numbers of a run with the last 40 steps beside them, until interrupted.",
      {"RUN"},
      {{"--once", "", "print once and stop"}, {"--every", "SECONDS", "between two drawings (default 2)"}}};
  const Arguments a = parse_arguments(usage, words);
  if (a.help) {
    fmt::print("{}", usage_text(usage));
    return 0;
  }
  int every = 2;
  if (a.has("--every")) {
    const std::string& text = a.options.at("--every");
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), every);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || every < 1) {
      throw UsageError("top: --every: got " + text + ", want a whole number of seconds from 1");
    }
  }
  if (a.has("--once") || isatty(STDOUT_FILENO) != 1) {
    fmt::print("{}", render_top(a.positionals[0]));
    return 0;
  }
  for (;;) {
    fmt::print("\033[H\033[2J{}", render_top(a.positionals[0]));
    std::fflush(stdout);
    std::this_thread::sleep_for(std::chrono::seconds(every));
  }
}

}  // namespace fulmen::launch
