#include "learner/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "shared/base/file.h"
#include "shared/base/progress.h"
#include "shared/model/inspect.h"

namespace fulmen::learner {
namespace {

using nlohmann::json;

double value(const base::Metrics& m, const char* name) {
  const auto it = m.find(name);
  return it == m.end() ? 0 : it->second;
}

void mean_max_min(base::Metrics& m, const std::string& name, const std::vector<double>& v) {
  if (v.empty()) return;
  double sum = 0;
  for (const double x : v) sum += x;
  m[name + "/mean"] = sum / static_cast<double>(v.size());
  m[name + "/max"] = *std::max_element(v.begin(), v.end());
  m[name + "/min"] = *std::min_element(v.begin(), v.end());
}

std::string bits_of(const Episode& e) {
  std::string bytes(reinterpret_cast<const char*>(e.completion.data()), e.completion.size() * sizeof(int32_t));
  bytes.append(reinterpret_cast<const char*>(e.logprob.data()), e.logprob.size() * sizeof(float));
  return base::hex(base::digest128(bytes.data(), bytes.size()));
}

std::string accuracy_text(double a) { return a < 0 ? "-" : fmt::format("{:.3f}", a); }

}  // namespace

void report_step(int64_t step, std::span<const Episode> episodes, const AdvantageCounts& advantages,
                 const StepCounts& counts, const UpdateResult& update, const base::Config& config, base::Metrics& m) {
  std::vector<double> score, length, prompt_length, advantage;
  int64_t truncated = 0, dropped = 0, tokens = 0, rows = 0;
  for (const Episode& e : episodes) {
    if (e.outcome == Outcome::kScored) score.push_back(e.score);
    length.push_back(static_cast<double>(e.completion.size()));
    prompt_length.push_back(static_cast<double>(e.prompt.size()));
    if (e.trained) advantage.push_back(e.advantage);
    truncated += e.truncated;
    tokens += static_cast<int64_t>(e.completion.size());
    rows += static_cast<int64_t>(e.prompt.size() + e.completion.size());
  }
  mean_max_min(m, "critic/rewards", score);
  mean_max_min(m, "critic/score", score);
  mean_max_min(m, "critic/advantages", advantage);
  mean_max_min(m, "response_length", length);
  mean_max_min(m, "prompt_length", prompt_length);
  m["response_length/clip_ratio"] = static_cast<double>(truncated) / static_cast<double>(episodes.size());
  m["training/global_step"] = static_cast<double>(step);
  m["training/issued"] = static_cast<double>(counts.issued);
  m["training/trained"] = static_cast<double>(advantages.trained);
  for (const auto& [reason, n] : advantages.dropped)
    m["training/dropped/" + reason] = static_cast<double>(n), dropped += n;
  m["training/zero_variance_groups"] = static_cast<double>(advantages.zero_variance_groups);
  m["training/reissued"] = static_cast<double>(counts.reissued);
  m["training/workers_lost"] = static_cast<double>(counts.workers_lost);
  FULMEN_CHECK(counts.issued == advantages.trained + dropped,
               fmt::format("step {}: {} episodes issued, but {} trained + {} dropped", step, counts.issued,
                           advantages.trained, dropped));
  m["timing_s/gen"] = counts.generate_s;
  m["timing_s/reward"] = counts.score_wait_s;
  m["timing_s/old_log_prob"] = update.score_s;
  m["timing_s/update_actor"] = update.update_s;
  m["perf/total_num_tokens"] = static_cast<double>(rows);
  m["perf/generate_tokens_per_s"] = counts.generate_s > 0 ? static_cast<double>(tokens) / counts.generate_s : 0;
  report(update, config, m);
}

std::string step_line(int64_t step, int64_t steps, const base::Metrics& m, double eta_s) {
  return fmt::format(
      "step {:>{}}/{}  reward {:.3f}  length {:>5.1f}  entropy {:.3f}  {:>6} tok/s  {}/{} differ  corr {:.7g}{}", step,
      std::to_string(steps).size(), steps, value(m, "critic/rewards/mean"), value(m, "response_length/mean"),
      value(m, "actor/entropy"), base::format_count(value(m, "perf/throughput")), value(m, "numerics/bits_differing"),
      value(m, "numerics/tokens_compared"), value(m, "training/rollout_actor_probs_pearson_corr"),
      step < steps ? fmt::format("  eta {}", base::format_duration(eta_s)) : "");
}

void write_episodes(const std::string& path, int64_t step, std::span<const Episode> episodes,
                    const std::vector<PromptRecord>& records, const model::Tokenizer& tokenizer, int limit) {
  if (limit == 0) return;
  const size_t n = limit < 0 ? episodes.size() : std::min<size_t>(episodes.size(), static_cast<size_t>(limit));
  std::string text;
  for (size_t k = 0; k < n; ++k) {
    const Episode& e = episodes[k * episodes.size() / n];  // spread over the groups
    double sum = 0;
    for (const float l : e.logprob) sum += l;
    json components = json::object();
    for (const auto& [name, value] : e.components) components[name] = value;
    json j = {{"step", step},
              {"prompt_id", e.prompt_id},
              {"sample_index", e.sample_index},
              {"prompt", records[e.record].prompt},
              {"completion", completion_text(tokenizer, e.completion)},
              {"ground_truth", records[e.record].ground_truth},
              {"data_source", records[e.record].data_source},
              {"extra_info", json::parse(records[e.record].extra_info, nullptr, false)},
              {"score", e.outcome == Outcome::kScored ? json(e.score) : json(nullptr)},
              {"verdict", outcome_name(e.outcome)},
              {"components", components},
              {"detail", e.detail},
              {"finish", e.finish},
              {"tokens", e.completion.size()},
              {"mean_logprob", e.logprob.empty() ? 0 : sum / static_cast<double>(e.logprob.size())},
              {"bits", bits_of(e)},
              {"advantage", e.advantage},
              {"trained", e.trained},
              {"dropped", e.dropped},
              {"weights_version", e.weights_version}};
    text += j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  base::write_file_atomic(path, text);
}

void print_summary(const Summary& s, const RunState& run) {
  const PhaseTimes& t = run.times;
  const auto row = [](const std::string& name, const std::string& text) { fmt::print("  {:<24}{}\n", name, text); };
  fmt::print("\n{} finished in {}\n", s.run_dir, base::format_duration(run.seconds));
  if (s.accuracy_after >= 0) {
    row("", fmt::format("{:>10}  {:>16}  {:>8}", "at start", "after cold start", "after RL"));
    row("held-out accuracy",
        fmt::format("{:>10}  {:>16}  {:>8}   ({} problems, greedy)", accuracy_text(run.accuracy_before),
                    accuracy_text(run.accuracy_after_sft), accuracy_text(s.accuracy_after), s.eval_problems));
  }
  if (run.step > 0) {
    row("reward",
        fmt::format("{:.3f} in the first step, {:.3f} in the last of {}", run.reward_first, run.reward_last, run.step));
    row("generated", fmt::format("{} completions, {} tokens", model::with_commas(run.episodes),
                                 model::with_commas(run.tokens_generated)));
    row("training = inference", fmt::format("{} of {} tokens differ in any bit", model::with_commas(run.bits_differing),
                                            model::with_commas(run.tokens_compared)));
  }
  row("time",
      fmt::format("cold start {}, generate {}, reward {}, update {}, weight sync {}, evaluate {}",
                  base::format_duration(t.sft), base::format_duration(t.generate), base::format_duration(t.reward),
                  base::format_duration(t.update), base::format_duration(t.sync), base::format_duration(t.eval)));
  if (!s.export_dir.empty())
    row("exported", fmt::format("{} ({} parameters, M1-style Hugging Face directory)", s.export_dir,
                                base::format_count(static_cast<double>(s.parameters))));
  row("look at it", fmt::format("fulmen report {}", s.run_dir));
  if (!s.export_dir.empty())
    row("talk to it", fmt::format("fulmen generate --model {} --prompt '{}'", s.export_dir, s.example_prompt));
  std::fflush(stdout);
}

}  // namespace fulmen::learner
