#include "learner/run_report.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "shared/base/file.h"
#include "shared/base/progress.h"

namespace fulmen::learner {
namespace {

using nlohmann::json;

double value(const base::Metrics& m, const char* name) {
  const auto it = m.find(name);
  return it == m.end() ? 0 : it->second;
}

const char* verdict_name(Outcome o) {
  switch (o) {
    case Outcome::kScored:
      return "score";
    case Outcome::kTimeout:
      return "timeout";
    case Outcome::kError:
      return "error";
    case Outcome::kUnparsable:
      return "unparsable";
    case Outcome::kUndecided:
      return "undecided";
    case Outcome::kAborted:
      return "aborted";
  }
  return "";
}

std::string grouped(int64_t n) {  // 1,234,567
  std::string s = std::to_string(n);
  for (int64_t i = static_cast<int64_t>(s.size()) - 3; i > 0; i -= 3) s.insert(static_cast<size_t>(i), ",");
  return s;
}

std::string accuracy_text(double a) { return a < 0 ? "-" : fmt::format("{:.3f}", a); }

}  // namespace

std::string step_line(int64_t step, int64_t steps, const base::Metrics& m, double eta_s) {
  return fmt::format(
      "step {:>3}/{}  reward {:.3f}  length {:.1f}  entropy {:.3f}  {} tok/s  bits {}/{}  corr {:.7g}  {:.1f} s{}",
      step, steps, value(m, "critic/rewards/mean"), value(m, "response_length/mean"), value(m, "actor/entropy"),
      base::format_count(value(m, "perf/throughput")), value(m, "numerics/bits_differing"),
      value(m, "numerics/tokens_compared"), value(m, "training/rollout_actor_probs_pearson_corr"),
      value(m, "timing_s/step"), step < steps ? "  eta " + base::format_duration(eta_s) : "");
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
    json j = {{"step", step},
              {"prompt_id", e.prompt_id},
              {"sample_index", e.sample_index},
              {"prompt", records[e.record].prompt},
              {"completion", completion_text(tokenizer, e.completion)},
              {"ground_truth", records[e.record].ground_truth},
              {"score", e.outcome == Outcome::kScored ? json(e.score) : json(nullptr)},
              {"verdict", verdict_name(e.outcome)},
              {"finish", e.finish},
              {"tokens", e.completion.size()},
              {"mean_logprob", e.logprob.empty() ? 0 : sum / static_cast<double>(e.logprob.size())},
              {"advantage", e.advantage},
              {"trained", e.trained},
              {"dropped", e.dropped},
              {"weights_version", e.weights_version}};
    text += j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  base::write_file_atomic(path, text);
}

void print_summary(const Summary& s) {
  const PhaseTimes& t = s.times;
  const auto row = [](const std::string& name, const std::string& text) { fmt::print("  {:<24}{}\n", name, text); };
  fmt::print("\n{} finished in {}\n", s.run_dir, base::format_duration(s.seconds));
  if (s.accuracy_after >= 0) {
    row("", fmt::format("{:>10}  {:>16}  {:>8}", "at start", "after cold start", "after RL"));
    row("held-out accuracy",
        fmt::format("{:>10}  {:>16}  {:>8}   ({} problems, greedy)", accuracy_text(s.accuracy_before),
                    accuracy_text(s.accuracy_after_sft), accuracy_text(s.accuracy_after), s.eval_problems));
  }
  if (s.steps > 0) {
    row("reward",
        fmt::format("{:.3f} in the first step, {:.3f} in the last of {}", s.reward_first, s.reward_last, s.steps));
    row("generated", fmt::format("{} completions, {} tokens", grouped(s.episodes), grouped(s.tokens_generated)));
    row("training = inference",
        fmt::format("{} of {} tokens differ in any bit", grouped(s.bits_differing), grouped(s.tokens_compared)));
  }
  row("time",
      fmt::format("cold start {}, generate {}, reward {}, update {}, weight sync {}, evaluate {}",
                  base::format_duration(t.sft), base::format_duration(t.generate), base::format_duration(t.reward),
                  base::format_duration(t.update), base::format_duration(t.sync), base::format_duration(t.eval)));
  if (!s.export_dir.empty())
    row("exported", fmt::format("{} ({} parameters, M1-style Hugging Face directory)", s.export_dir,
                                base::format_count(static_cast<double>(s.parameters))));
  row("look at it", "fulmen report " + s.run_dir);
  if (!s.export_dir.empty())
    row("talk to it", "fulmen generate --model " + s.export_dir + " --prompt '" + s.example_prompt + "'");
  std::fflush(stdout);
}

}  // namespace fulmen::learner
