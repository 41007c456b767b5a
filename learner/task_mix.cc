#include "learner/task_mix.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "shared/base/rng.h"
#include "shared/task/records.h"
#include "shared/task/task.h"

namespace fulmen::learner {
namespace {

constexpr int64_t kManyPrompts = int64_t{1} << 40;
// Prompts of RL and examples of the cold start lie in ranges of their own (sft.cc).
constexpr int64_t kRange = int64_t{1} << 32;
constexpr int64_t kBlock = 4096;

struct Source {
  const task::Task* task = nullptr;
  int low = 1, high = 1;
  std::unique_ptr<Dataset> file;
  double weight = 1;
};

class MixDataset : public Dataset {
 public:
  MixDataset(const base::Config& c, Split split, const model::Tokenizer& tokenizer)
      : config_(c), held_out_(split == Split::kEval), tokenizer_(tokenizer) {
    std::vector<base::MixEntry> entries = c.data.mix;
    if (!c.data.task.empty()) entries = {{.task = c.data.task, .file = "", .difficulty = c.data.difficulty}};
    double sum = 0;
    for (const base::MixEntry& e : entries) {
      if (held_out_ && e.task.empty()) continue;  // a file holds nothing out; data.eval does
      Source s;
      s.weight = e.weight;
      sum += s.weight;
      if (e.task.empty()) {
        s.file = make_file_dataset(c, e.file, tokenizer);
      } else {
        s.task = &task::find_task(e.task);
        std::tie(s.low, s.high) = *base::parse_range(e.difficulty);
      }
      sources_.push_back(std::move(s));
    }
    FULMEN_CHECK(!sources_.empty(), "data.mix holds no task, so nothing is held out: give data.eval");
    double below = 0;
    for (const Source& s : sources_) bounds_.push_back((below += s.weight) / sum);
    bounds_.back() = 1;
  }

  int64_t size() const override { return kManyPrompts; }

  PromptRecord record(int64_t n) const override {
    const size_t chosen = source_of(n);
    const Source& s = sources_[chosen];
    if (s.file == nullptr) return generated(s, n);
    const auto seed = static_cast<uint64_t>(config_.run.seed);
    return s.file->record(shuffled_index(seed, earlier(chosen, n), s.file->size(), config_.data.shuffle));
  }

  std::string describe() const override {
    std::vector<std::string> parts;
    double below = 0;
    for (size_t i = 0; i < sources_.size(); ++i) {
      const Source& s = sources_[i];
      std::string part = s.task == nullptr ? s.file->describe()
                                           : fmt::format("task {}, difficulty {} to {}", s.task->name, s.low, s.high);
      if (sources_.size() > 1) part += fmt::format(" ({:.0f} %)", 100 * (bounds_[i] - below));
      below = bounds_[i];
      parts.push_back(part);
    }
    return fmt::format("{}{}", fmt::join(parts, "; "), held_out_ ? ", held out" : "");
  }

 private:
  size_t source_of(int64_t n) const {
    if (sources_.size() == 1) return 0;
    const double u = base::uniform(static_cast<uint64_t>(config_.run.seed), base::Purpose::kShuffle,
                                   static_cast<uint64_t>(n), 2, held_out_ ? 1 : 0);
    return static_cast<size_t>(std::upper_bound(bounds_.begin(), bounds_.end() - 1, u) - bounds_.begin());
  }

  // How many of the prompts before n, in its range, come from the same source: a file's records come in epochs. Counted
  // block by block and remembered, so that a run pays once for each prompt.
  int64_t earlier(size_t chosen, int64_t n) const {
    const int64_t begin = n / kRange * kRange, block = (n - begin) / kBlock;
    const std::lock_guard lock(mutex_);
    if (counted_range_ != begin) counted_range_ = begin, counts_.assign(1, std::vector<int64_t>(sources_.size()));
    while (static_cast<int64_t>(counts_.size()) <= block) {
      std::vector<int64_t> next = counts_.back();
      const int64_t from = begin + static_cast<int64_t>(counts_.size() - 1) * kBlock;
      for (int64_t i = from; i < from + kBlock; ++i) ++next[source_of(i)];
      counts_.push_back(std::move(next));
    }
    int64_t count = counts_[static_cast<size_t>(block)][chosen];
    for (int64_t i = begin + block * kBlock; i < n; ++i) count += source_of(i) == chosen;
    return count;
  }

  int highest_at(const Source& s, int64_t n) const {
    const int64_t steps = config_.data.curriculum_steps;
    if (steps == 0 || held_out_ || n >= kRange) return s.high;
    const int64_t step = n / config_.algorithm.prompts_per_step;
    return s.low + static_cast<int>((s.high - s.low) * std::min(step, steps) / steps);
  }

  PromptRecord generated(const Source& s, int64_t n) const {
    const task::Draw draw{static_cast<uint64_t>(config_.run.seed), held_out_, n, s.low, highest_at(s, n)};
    const task::Problem p = task::make_problem(*s.task, draw);
    PromptRecord r;
    r.prompt = model::render_chat(config_.data.template_name, {{"user", p.prompt}});
    r.ids = tokenizer_.encode(r.prompt);
    FULMEN_CHECK(static_cast<int>(r.ids.size()) <= config_.data.max_prompt_tokens,
                 fmt::format("task {}, difficulty {}: a prompt has {} tokens, want <= {} (data.max_prompt_tokens)",
                             s.task->name, p.difficulty, r.ids.size(), config_.data.max_prompt_tokens));
    r.data_source = task::data_source_of(*s.task);
    r.ground_truth = p.answer;
    r.extra_info = task::extra_info_of(draw, p).dump();
    r.worked = p.worked;
    if (s.task->answers_after_hashes) r.unanswered = p.worked.substr(0, p.worked.rfind("#### "));
    return r;
  }

  const base::Config config_;
  bool held_out_;
  const model::Tokenizer& tokenizer_;
  std::vector<Source> sources_;
  std::vector<double> bounds_;  // cumulative shares
  mutable std::mutex mutex_;
  mutable int64_t counted_range_ = -1;
  mutable std::vector<std::vector<int64_t>> counts_;  // per source, at the begin of each block of the range
};

void check_source(const base::Config& c, const std::string& key, const std::string& name,
                  const std::string& difficulty) {
  const auto origin = c.origin.find(key);
  const std::string where = origin == c.origin.end() ? "default" : origin->second;
  try {
    task::find_task(name);
  } catch (const Error& e) {
    throw base::ConfigError(fmt::format("{}: {} [{}]", key, e.what(), where));
  }
  const auto range = base::parse_range(difficulty);
  if (!range || range->first < 1 || range->second > task::kMaxDifficulty)
    throw base::ConfigError(fmt::format("{}: difficulty {} of {}, want within 1..{} [{}]", key, difficulty, name,
                                        task::kMaxDifficulty, where));
}

}  // namespace

std::unique_ptr<Dataset> make_mix(const base::Config& c, Split split, const model::Tokenizer& tokenizer) {
  return std::make_unique<MixDataset>(c, split, tokenizer);
}

void check_data(const base::Config& c) {
  if (!c.data.task.empty()) check_source(c, "data.task", c.data.task, c.data.difficulty);
  for (const base::MixEntry& e : c.data.mix)
    if (!e.task.empty()) check_source(c, "data.mix", e.task, e.difficulty);
}

}  // namespace fulmen::learner
