#include "learner/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "learner/parts.h"
#include "learner/run_directory.h"
#include "learner/run_report.h"
#include "shared/base/file.h"
#include "shared/base/progress.h"

namespace fulmen::learner {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Evaluation prompts have Philox keys of their own.
constexpr uint64_t kEvalPromptIds = uint64_t{1} << 40;

}  // namespace

EvalResult evaluate(const base::Config& config, Conductor& conductor, const Dataset& data, const std::string& title) {
  EvalResult r;
  const double begin = now_s();
  const int64_t n = std::min<int64_t>(config.eval.problems, data.size());
  std::vector<GroupJob> jobs;
  for (int64_t i = 0; i < n; ++i) {
    r.records.push_back(data.record(i));
    jobs.push_back({kEvalPromptIds + static_cast<uint64_t>(i), static_cast<size_t>(i), r.records.back(), 1});
  }
  base::Progress progress(title, n);
  StepCounts counts;
  r.episodes = conductor.run(jobs,
                             {.temperature = 0,
                              .max_new_tokens = config.rollout.max_new_tokens,
                              .seed = static_cast<uint64_t>(config.run.seed)},
                             counts, [&](int64_t done, int64_t, int64_t, int64_t) { progress.update(done); });
  for (const Episode& e : r.episodes) {
    r.tokens += static_cast<int64_t>(e.completion.size());
    if (e.outcome == Outcome::kScored)
      r.accuracy += e.score >= 0.5;
    else
      ++(e.outcome == Outcome::kUnparsable ? r.unparsable : r.failed);
  }
  r.problems = n;
  r.accuracy /= static_cast<double>(std::max<int64_t>(1, n));
  r.seconds = now_s() - begin;
  progress.finish(fmt::format("accuracy {:.3f} ({} problems, {} without an answer)", r.accuracy, n, r.unparsable));
  return r;
}

base::Metrics accuracy_by_source(const EvalResult& r) {
  std::map<std::string, std::pair<int64_t, int64_t>> counts;  // right, all
  for (const PromptRecord& record : r.records) ++counts[record.data_source].second;
  for (const Episode& e : r.episodes)
    counts[r.records[e.record].data_source].first += e.outcome == Outcome::kScored && e.score >= 0.5;
  base::Metrics m;
  for (const auto& [source, c] : counts)
    m["val-core/" + source + "/acc/mean@1"] = static_cast<double>(c.first) / static_cast<double>(c.second);
  if (counts.size() > 1) m["val-core/all/acc/mean@1"] = r.accuracy;
  return m;
}

void run_evaluation(const base::Config& config) {
  const RunLock lock(config.run.dir);
  LearnerParts parts(config);
  base::make_directories(config.run.dir + "/logs");
  base::make_directories(config.run.dir + "/episodes");
  const std::string path = config.run.dir + "/config.eval.yaml";  // the directory may be a run's, with its own
  base::write_file_atomic(path, base::to_yaml(config, false));
  const auto data = make_dataset(config, Split::kEval, *parts.tokenizer);
  Conductor conductor(config, path, run_id_of(config.run.dir), parts.numerics, *parts.tokenizer, parts.ctx);
  conductor.start();
  conductor.publish(*parts.weights, 1);
  const EvalResult r = evaluate(config, conductor, *data, "evaluate");
  conductor.stop();
  write_episodes(config.run.dir + "/episodes/eval.jsonl", 0, r.episodes, r.records, *parts.tokenizer, -1);
  fmt::print("accuracy {:.4f} on {} problems of {} ({} without a readable answer, {} failed), {:.0f} tokens/s; {}\n",
             r.accuracy, r.problems, data->describe(), r.unparsable, r.failed,
             static_cast<double>(r.tokens) / r.seconds, config.run.dir + "/episodes/eval.jsonl");
}

}  // namespace fulmen::learner
