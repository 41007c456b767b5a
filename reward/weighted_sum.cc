#include "reward/weighted_sum.h"

#include <fmt/core.h>

#include <chrono>
#include <cmath>

#include "kernels/error.h"
#include "reward/math/answer_text.h"

namespace fulmen::reward {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// The records of one call as the functions want them. Cut ones are copied once, and only when there is something to
// cut.
class Views {
 public:
  explicit Views(std::span<const Record> records) : whole_(records), cut_(records.size()), open_(records.size()) {}

  // nullptr: the reasoning is not closed.
  const Record* get(size_t i, bool with_reasoning) {
    const Record& r = whole_[i];
    if (with_reasoning) return &r;
    if (open_[i]) return nullptr;
    if (cut_[i]) return cut_[i].get();
    const auto rest = math::without_reasoning(r.response);
    if (!rest) {
      open_[i] = true;
      return nullptr;
    }
    if (rest->size() == r.response.size()) return &r;
    Record copy = r;
    copy.response = std::string(*rest);
    cut_[i] = std::make_unique<Record>(std::move(copy));
    return cut_[i].get();
  }

 private:
  std::span<const Record> whole_;
  std::vector<std::unique_ptr<Record>> cut_;
  std::vector<char> open_;
};

Verdict checked(Verdict v, const Function& f) {
  if (v.kind != Kind::kScore || std::isfinite(v.score)) return v;
  return make_verdict(Kind::kError, 0, fmt::format("{} gave {}, want a finite score", f.name(), v.score));
}

std::vector<Verdict> call(Function& f, std::span<const Record* const> records) {
  std::vector<Verdict> verdicts;
  try {
    if (records.size() == 1) {
      verdicts.push_back(f.score(*records[0]));
    } else {
      std::vector<Record> together;
      for (const Record* r : records) together.push_back(*r);
      verdicts = f.score_all(together);
    }
    FULMEN_CHECK(verdicts.size() == records.size(),
                 fmt::format("{}: {} verdicts for {} records", f.name(), verdicts.size(), records.size()));
  } catch (const std::exception& e) {  // a defect of ours costs these records and shows in their verdicts
    verdicts.assign(records.size(), make_verdict(Kind::kError, 0, e.what()));
  }
  for (Verdict& v : verdicts) v = checked(std::move(v), f);
  return verdicts;
}

class WeightedSum : public Function {
 public:
  explicit WeightedSum(std::vector<Weighted> parts) : parts_(std::move(parts)) {
    for (const Weighted& p : parts_) {
      name_ += (name_.empty() ? "" : "+") + p.function->name();
      version_ += (version_.empty() ? "" : "+") + p.function->version();
      if (p.weight != 1) version_ += fmt::format("={}", p.weight);
      repeatable_ = repeatable_ && p.function->repeatable();
      batch_ = std::max(batch_, p.function->batch());
    }
  }

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_reasoning() const override { return true; }
  bool wants_truth() const override { return false; }  // each part for itself
  bool repeatable() const override { return repeatable_; }
  size_t batch() const override { return batch_; }
  Verdict score(const Record& r) override { return score_all({&r, 1})[0]; }

  std::string truth_problem(const Record& r) override {
    std::string all;
    for (const Weighted& p : parts_) {
      const std::string problem = p.function->truth_problem(r);
      if (problem.empty()) continue;
      all += (all.empty() ? "" : "; ") + (parts_.size() > 1 ? p.function->name() + ": " : "") + problem;
    }
    return all;
  }

  std::vector<Verdict> score_all(std::span<const Record> records) override {
    const auto start = Clock::now();
    Views views(records);
    std::vector<Verdict> totals(records.size());
    for (const Weighted& p : parts_) add(p, views, totals);
    const double ms = ms_since(start) / static_cast<double>(std::max<size_t>(1, records.size()));
    for (Verdict& v : totals) {
      v.ms = ms;
      if (v.version.empty()) v.version = version_;
    }
    return totals;
  }

 private:
  void add(const Weighted& p, Views& views, std::vector<Verdict>& totals) {
    std::vector<const Record*> wanted;
    std::vector<size_t> at;
    for (size_t i = 0; i < totals.size(); ++i) {
      if (totals[i].kind != Kind::kScore) continue;
      if (!views.get(i, true)->has_truth && p.function->wants_truth()) {
        merge(p, make_verdict(Kind::kError, 0, "no \"ground_truth\""), totals[i]);
      } else if (const Record* r = views.get(i, p.function->wants_reasoning())) {
        wanted.push_back(r);
        at.push_back(i);
      } else {
        merge(p, make_verdict(Kind::kUnparsable, 0, "the reasoning is not closed: no </think> after <think>"),
              totals[i]);
      }
    }
    if (wanted.empty()) return;
    std::vector<Verdict> verdicts = call(*p.function, wanted);
    for (size_t k = 0; k < at.size(); ++k) merge(p, std::move(verdicts[k]), totals[at[k]]);
  }

  void merge(const Weighted& p, Verdict v, Verdict& total) {
    const bool is_sum = !v.version.empty();  // "auto": the function it took has put its own name into the components
    if (is_sum && parts_.size() == 1) total.version = std::move(v.version);
    if (!v.detail.empty()) {
      const std::string from = parts_.size() > 1 ? p.function->name() + ": " : "";
      total.detail += (total.detail.empty() ? "" : "; ") + from + v.detail;
    }
    if (v.kind != Kind::kScore) {
      total.kind = v.kind;
      total.truth_at_fault = v.truth_at_fault;
      total.score = 0;
      return;
    }
    total.score += p.weight * v.score;
    if (!is_sum) total.components.emplace_back(p.function->name(), v.score);
    for (auto& c : v.components) total.components.push_back(std::move(c));
  }

  std::vector<Weighted> parts_;
  std::string name_, version_;
  bool repeatable_ = true;
  size_t batch_ = 1;
};

}  // namespace

std::unique_ptr<Function> make_weighted_sum(std::vector<Weighted> parts) {
  return std::make_unique<WeightedSum>(std::move(parts));
}

}  // namespace fulmen::reward
