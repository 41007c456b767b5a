#include "reward/dataset_checks.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "reward/record_json.h"

namespace fulmen::reward {
namespace {

// use(text, where) for each line that is not empty; what it throws is passed on as an Error naming the line.
void each_line(const std::string& file, const std::function<void(const std::string&, const std::string&)>& use) {
  std::ifstream in(file);
  FULMEN_CHECK(in.good() && !std::filesystem::is_directory(file), "cannot read " + file);
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", file, number);
    try {
      use(line, where);
    } catch (const std::exception& e) {
      throw Error(where + ": " + json_reason(e));
    }
  }
}

std::string truth_problem(const std::string& line, Function& function) {
  try {
    Json j = parse_json(line);
    if (j.is_object()) j["response"] = "";
    return function.truth_problem(read_record(j));
  } catch (const std::exception& e) {
    return json_reason(e);
  }
}

std::vector<std::string> episode_files(const std::string& run) {
  namespace fs = std::filesystem;
  if (fs::is_regular_file(run)) return {run};
  std::vector<std::string> files;
  const std::string folder = run + "/episodes";
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".jsonl") files.push_back(entry.path());
  FULMEN_CHECK(!files.empty(), "no episodes: looked for JSONL files in " + folder);
  std::sort(files.begin(), files.end());
  return files;
}

struct Diff {
  std::map<std::pair<std::string, std::string>, size_t> became;
  std::vector<std::string> examples;
  double old_sum = 0, new_sum = 0;
  size_t both = 0;
  DiffCounts counts;

  void add(const std::string& where, const Verdict& was, const Verdict& is, size_t shown) {
    ++counts.records;
    const std::string a = verdict_text(was), b = verdict_text(is);
    ++became[{a, b}];
    if (was.kind == Kind::kScore && is.kind == Kind::kScore) {
      ++both;
      old_sum += was.score;
      new_sum += is.score;
    }
    if (a == b) return;
    ++counts.changed;
    if (examples.size() < shown)
      examples.push_back(fmt::format("  {}: {} -> {}{}", where, a, b, is.detail.empty() ? "" : " (" + is.detail + ")"));
  }

  void print(std::ostream& out) const {
    out << fmt::format("{:<20} {:<20} {:>10}\n", "old", "new", "episodes");
    for (const auto& [pair, n] : became)
      out << fmt::format("{:<20} {:<20} {:>10}{}\n", pair.first, pair.second, n,
                         pair.first == pair.second ? "" : "  *");
    for (const std::string& e : examples) out << e << "\n";
    out << fmt::format("{} of {} verdicts change", counts.changed, counts.records);
    if (both > 0)
      out << fmt::format("; mean score where both give one: {:.4f} -> {:.4f}", old_sum / static_cast<double>(both),
                         new_sum / static_cast<double>(both));
    out << "\n";
  }
};

}  // namespace

TruthCounts check_truths(const std::string& file, Function& function, std::ostream& out) {
  TruthCounts counts;
  each_line(file, [&](const std::string& line, const std::string& where) {
    ++counts.records;
    const std::string problem = truth_problem(line, function);
    if (problem.empty()) return;
    ++counts.refused;
    out << fmt::format("{}: {}\n", where, problem);
  });
  FULMEN_CHECK(counts.records > 0, file + ": no records");
  out << fmt::format("{} of {} ground truths cannot be used by {}\n", counts.refused, counts.records,
                     function.version());
  return counts;
}

DiffCounts diff_verdicts(const std::string& run, Function* old_function, Function& new_function, size_t shown,
                         std::ostream& out) {
  Diff diff;
  for (const std::string& file : episode_files(run)) {
    each_line(file, [&](const std::string& line, const std::string& where) {
      Json j = parse_json(line);
      FULMEN_CHECK(j.is_object(), "want an object");
      if (j.value("verdict", "") == "aborted") return;  // never scored
      const Verdict recorded = old_function == nullptr ? read_verdict(j) : Verdict{};
      for (const char* name : {"score", "verdict", "components", "detail", "advantage", "trained", "dropped"})
        j.erase(name);
      const Record r = read_record(j);
      diff.add(where, old_function != nullptr ? old_function->score(r) : recorded, new_function.score(r), shown);
    });
  }
  diff.print(out);
  return diff.counts;
}

}  // namespace fulmen::reward
