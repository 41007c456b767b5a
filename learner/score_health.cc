#include "learner/score_health.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace fulmen::learner {
namespace {

struct Mean {
  double sum = 0, n = 0;
  void add(double x) { sum += x, n += 1; }
  double get() const { return n > 0 ? sum / n : 0; }
};

}  // namespace

double length_correlation(std::span<const Episode> episodes) {
  double xx = 0, yy = 0, xy = 0;
  for (size_t begin = 0, end = 0; begin < episodes.size(); begin = end) {
    Mean score, length;
    for (; end < episodes.size() && episodes[end].prompt_id == episodes[begin].prompt_id; ++end) {
      if (episodes[end].outcome != Outcome::kScored) continue;
      score.add(episodes[end].score);
      length.add(static_cast<double>(episodes[end].completion.size()));
    }
    for (size_t i = begin; i < end; ++i) {
      if (episodes[i].outcome != Outcome::kScored) continue;
      const double x = static_cast<double>(episodes[i].completion.size()) - length.get();
      const double y = episodes[i].score - score.get();
      xx += x * x, yy += y * y, xy += x * y;
    }
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

std::string ScoreHealth::add_step(std::span<const Episode> episodes, base::Metrics& m) {
  std::map<std::string, Mean> components;
  Step step;
  Mean length, score;
  for (const Episode& e : episodes) {
    if (e.outcome != Outcome::kScored) continue;
    for (const auto& [name, value] : e.components) components[name].add(value);
    length.add(static_cast<double>(e.completion.size()));
    // The first component is the one that is to be right; the sum when there is none.
    score.add(e.components.empty() ? e.score : e.components[0].second);
  }
  for (const auto& [name, mean] : components) m["reward/component/" + name] = mean.get();
  step = {length.get(), score.get(), length_correlation(episodes)};
  m["reward/length_correlation"] = step.correlation;
  if (score.n > 0) steps_.push_back(step);
  if (steps_.size() > kWindow) steps_.pop_front();
  std::string all;
  for (const std::string& text : {failures(episodes, m), correlation_alarm(), drift_alarm()})
    if (!text.empty()) all += (all.empty() ? "" : "; ") + text;
  return all;
}

std::string ScoreHealth::failures(std::span<const Episode> episodes, base::Metrics& m) const {
  std::map<std::string, int64_t> count;
  std::map<std::string, int64_t> details;
  int64_t verdicts = 0;
  for (const Episode& e : episodes) {
    if (e.outcome == Outcome::kAborted) continue;
    ++verdicts;
    ++count[outcome_name(e.outcome)];
    if (e.outcome == Outcome::kError || e.outcome == Outcome::kTimeout) ++details[e.detail];
  }
  if (verdicts == 0) return "";
  for (const char* name : {"error", "timeout", "unparsable", "undecided"})
    m[std::string("reward/verdict/") + name] = static_cast<double>(count[name]) / static_cast<double>(verdicts);
  const int64_t failed = count["error"] + count["timeout"];
  if (static_cast<double>(failed) <= settings_.max_error_fraction * static_cast<double>(verdicts)) return "";
  const auto most = std::max_element(details.begin(), details.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return fmt::format(
      "{} of {} verdicts failed ({} errors, {} timeouts), want <= {} of them (reward.max_error_fraction); "
      "most often: {}",
      failed, verdicts, count["error"], count["timeout"], settings_.max_error_fraction, most->first);
}

std::string ScoreHealth::correlation_alarm() const {
  if (settings_.length_bias_limit <= 0 || steps_.size() < kCorrelated) return "";
  Mean mean;
  for (size_t i = steps_.size() - kCorrelated; i < steps_.size(); ++i) {
    if (steps_[i].correlation <= settings_.length_bias_limit) return "";
    mean.add(steps_[i].correlation);
  }
  return fmt::format(
      "longer completions score higher: correlation {:.2f} inside groups over {} steps, want <= {} "
      "(reward.length_bias_limit)",
      mean.get(), kCorrelated, settings_.length_bias_limit);
}

std::string ScoreHealth::drift_alarm() const {
  if (settings_.length_drift_limit <= 0 || steps_.size() < kWindow) return "";
  Mean length[2], score[2];
  for (size_t i = 0; i < kWindow; ++i) {
    length[2 * i / kWindow].add(steps_[i].length);
    score[2 * i / kWindow].add(steps_[i].score);
  }
  const double growth = length[1].get() / std::max(1.0, length[0].get()) - 1;
  constexpr double kGain = 0.01;
  if (growth <= settings_.length_drift_limit || score[1].get() - score[0].get() >= kGain) return "";
  return fmt::format(
      "completions grew by {:.0f} % in {} steps ({:.0f} to {:.0f} tokens) and the score did not ({:.3f} to {:.3f}); "
      "want <= {:.0f} % (reward.length_drift_limit)",
      100 * growth, kWindow, length[0].get(), length[1].get(), score[0].get(), score[1].get(),
      100 * settings_.length_drift_limit);
}

}  // namespace fulmen::learner
