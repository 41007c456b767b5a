#include "shared/launch/diff.h"

#include <fmt/format.h>

#include <bit>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "kernels/error.h"
#include "shared/base/config.h"
#include "shared/base/file.h"
#include "shared/launch/arguments.h"
#include "shared/launch/run_record.h"

namespace fulmen::launch {
namespace {

namespace fs = std::filesystem;

std::string compare_configurations(const std::string& a, const std::string& b) {
  const auto values = [](const std::string& dir) {
    return base::config_values(base::load_config(dir + "/config.resolved.yaml", {}));
  };
  std::string text;
  for (const std::string& difference : base::config_differences(values(a), values(b)))
    text += "configuration  " + difference + "\n";
  return text.empty() ? "configuration  the same (run.dir aside)\n" : text;
}

// (how often this step and name came before, value): an evaluation may add a second line for a step.
using Table = std::map<int64_t, std::map<std::string, std::vector<double>>>;

Table table_of(const std::vector<MetricsLine>& lines) {
  Table table;
  for (const MetricsLine& line : lines) {
    for (const auto& [name, value] : line.values) {
      if (!base::is_of_the_clock(name)) table[line.step][name].push_back(value);
    }
  }
  return table;
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint64_t>(a[i]) != std::bit_cast<uint64_t>(b[i])) return false;
  }
  return true;
}

std::string shown(const std::vector<double>& values) {
  return values.empty() ? "absent" : fmt::format("{}", fmt::join(values, ", "));
}

bool compare_metrics(const std::string& a, const std::string& b, std::string& text) {
  Table left = table_of(read_metrics(a)), right = table_of(read_metrics(b));
  std::set<int64_t> steps;
  for (const auto& [step, values] : left) steps.insert(step);
  for (const auto& [step, values] : right) steps.insert(step);
  for (const int64_t step : steps) {
    std::set<std::string> names;
    for (const auto& [name, values] : left[step]) names.insert(name);
    for (const auto& [name, values] : right[step]) names.insert(name);
    std::string parted;
    for (const std::string& name : names) {
      const auto& l = left[step][name];
      const auto& r = right[step][name];
      if (!same_bits(l, r))
        parted += fmt::format("metrics        step {}: {}: {} | {}\n", step, name, shown(l), shown(r));
    }
    if (parted.empty()) continue;
    text += parted;
    return false;
  }
  text += fmt::format("metrics        the same in all {} steps (times aside)\n", steps.size());
  return true;
}

std::map<std::string, std::string> export_digests(const std::string& run_dir) {
  std::map<std::string, std::string> digests;
  if (!fs::is_directory(run_dir + "/export")) return digests;
  for (const auto& entry : fs::directory_iterator(run_dir + "/export")) {
    if (entry.path().extension() != ".safetensors") continue;
    const base::MappedFile file(entry.path().string());
    digests[entry.path().filename().string()] = base::hex(base::digest128(file.data(), file.size()));
  }
  return digests;
}

bool compare_exports(const std::string& a, const std::string& b, std::string& text) {
  const auto left = export_digests(a), right = export_digests(b);
  if (left == right) {
    text += left.empty() ? "weights        neither run has exported any\n"
                         : fmt::format("weights        the same bytes in {} exported file(s)\n", left.size());
    return true;
  }
  std::set<std::string> names;
  for (const auto& [name, digest] : left) names.insert(name);
  for (const auto& [name, digest] : right) names.insert(name);
  for (const std::string& name : names) {
    const auto l = left.find(name), r = right.find(name);
    const std::string x = l == left.end() ? "absent" : l->second, y = r == right.end() ? "absent" : r->second;
    if (x != y) text += fmt::format("weights        export/{}: {} | {}\n", name, x, y);
  }
  return false;
}

}  // namespace

Difference compare_runs(const std::string& a, const std::string& b) {
  Difference d;
  d.text = compare_configurations(a, b);
  const bool same_numbers = compare_metrics(a, b, d.text);
  const bool same_weights = compare_exports(a, b, d.text);
  d.same = same_numbers && same_weights;
  return d;
}

int run_diff(const std::vector<std::string>& words) {
  const Usage usage{"diff",
                    "Where two runs part: configuration keys, the first step whose numbers differ, exported bytes.\n"
                    "Exit code 0 when numbers and weights are the same, 1 when not.",
                    {"RUN_A", "RUN_B"},
                    {}};
  const Arguments a = parse_arguments(usage, words);
  if (a.help) {
    fmt::print("{}", usage_text(usage));
    return 0;
  }
  const Difference d = compare_runs(a.positionals[0], a.positionals[1]);
  fmt::print("{}", d.text);
  return d.same ? 0 : 1;
}

}  // namespace fulmen::launch
