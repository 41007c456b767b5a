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

void each_line(const std::string& file, const std::function<void(Json, const std::string& where)>& use) {
  std::ifstream in(file);
  FULMEN_CHECK(in.good(), "cannot read " + file);
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", file, number);
    try {
      use(parse_json(line), where);
    } catch (const std::exception& e) {
      throw Error(where + ": " + json_reason(e));
    }
  }
}

// "1 score", "0 score", "timeout": what a verdict is in a table.
std::string verdict_text(const Verdict& v) {
  return v.kind == Kind::kScore ? fmt::format("score {:.4g}", v.score) : kind_name(v.kind);
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
  each_line(file, [&](Json j, const std::string& where) {
    if (j.is_object()) j["response"] = "";
    Record r = read_record(j);
    const std::string& truth = r.ground_truth;
    ++counts.records;
    Verdict v;
    for (const std::string& response : {truth, "\\boxed{" + truth + "}", "<answer>" + truth + "</answer>"}) {
      r.response = response;
      const Verdict tried = function.score(r);
      if (tried.kind == Kind::kScore && tried.score > 0) return;
      // The boxed form is the one that says best what is wrong.
      if (v.detail.empty() || response.rfind("\\boxed", 0) == 0) v = tried;
    }
    ++counts.refused;
    out << fmt::format("{}: {}{}\n", where, verdict_text(v), v.detail.empty() ? "" : ": " + v.detail);
  });
  out << fmt::format("{} of {} ground truths are not accepted as their own answer by {}\n", counts.refused,
                     counts.records, function.version());
  return counts;
}

DiffCounts diff_verdicts(const std::string& run, Function* old_function, Function& new_function, size_t shown,
                         std::ostream& out) {
  Diff diff;
  for (const std::string& file : episode_files(run)) {
    each_line(file, [&](Json j, const std::string& where) {
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
