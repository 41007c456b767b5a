#include "reward/guarded.h"

#include <fmt/core.h>

#include "kernels/error.h"

namespace fulmen::reward {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

// An instance for the time of one call.
class Loan {
 public:
  Loan(Instances& instances, int wait_ms)
      : instances_(instances), function_(instances.take(Clock::now() + std::chrono::milliseconds(wait_ms))) {}
  ~Loan() {
    if (function_) instances_.give_back(std::move(function_));
  }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  Function* get() { return function_.get(); }

 private:
  Instances& instances_;
  std::unique_ptr<Function> function_;
};

class Guarded : public Function {
 public:
  Guarded(std::shared_ptr<Shared> shared, std::shared_ptr<Instances> instances, int wait_ms)
      : shared_(std::move(shared)), instances_(std::move(instances)), wait_ms_(wait_ms) {
    Loan loan(*instances_, wait_ms_);
    Function* f = loan.get();
    FULMEN_CHECK(f != nullptr, "reward: no free instance to look at");
    name_ = f->name();
    version_ = f->version();
    wants_reasoning_ = f->wants_reasoning();
    wants_truth_ = f->wants_truth();
    repeatable_ = f->repeatable();
    batch_ = f->batch();
    metrics_ = &shared_->metrics.of(name_);
  }

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_reasoning() const override { return wants_reasoning_; }
  bool wants_truth() const override { return wants_truth_; }
  bool repeatable() const override { return repeatable_; }
  size_t batch() const override { return batch_; }

  Verdict score(const Record& r) override {
    base::Digest key{};
    if (repeatable_) {
      key = ResultCache::key(*this, r);
      if (auto v = remembered(r, key)) return std::move(*v);
    }
    Verdict v = call({&r, 1})[0];
    if (repeatable_) shared_->cache.store(key, v);
    return v;
  }

  std::vector<Verdict> score_all(std::span<const Record> records) override {
    std::vector<Verdict> verdicts(records.size());
    std::vector<base::Digest> keys(records.size());
    std::vector<Record> missing;
    std::vector<size_t> at;
    for (size_t i = 0; i < records.size(); ++i) {
      if (repeatable_) {
        keys[i] = ResultCache::key(*this, records[i]);
        if (auto v = remembered(records[i], keys[i])) {
          verdicts[i] = std::move(*v);
          continue;
        }
      }
      missing.push_back(records[i]);
      at.push_back(i);
    }
    if (missing.empty()) return verdicts;
    std::vector<Verdict> fresh = call(missing);
    for (size_t k = 0; k < at.size(); ++k) {
      if (repeatable_) shared_->cache.store(keys[at[k]], fresh[k]);
      verdicts[at[k]] = std::move(fresh[k]);
    }
    return verdicts;
  }

  std::string truth_problem(const Record& r) override {
    Loan loan(*instances_, wait_ms_);
    FULMEN_CHECK(loan.get() != nullptr, fmt::format("{}: all instances were busy for {} ms", name_, wait_ms_));
    return loan.get()->truth_problem(r);
  }

 private:
  std::vector<Verdict> call(std::span<const Record> records) {
    const auto start = Clock::now();
    std::vector<Verdict> verdicts;
    Loan loan(*instances_, wait_ms_);
    if (loan.get() == nullptr) {
      const std::string why = fmt::format("{}: all instances were busy for {} ms", name_, wait_ms_);
      verdicts.assign(records.size(), make_verdict(Kind::kTimeout, 0, why));
    } else if (records.size() == 1) {
      verdicts.push_back(one(*loan.get(), records[0]));
    } else {
      verdicts = loan.get()->score_all(records);
      FULMEN_CHECK(verdicts.size() == records.size(),
                   fmt::format("{}: {} verdicts for {} records", name_, verdicts.size(), records.size()));
    }
    const double each = seconds_since(start) / static_cast<double>(records.size());
    for (const Verdict& v : verdicts) metrics_->add(v, each);
    return verdicts;
  }

  std::optional<Verdict> remembered(const Record& r, const base::Digest& key) {
    if (r.fresh) return std::nullopt;
    std::optional<Verdict> v = shared_->cache.find(key);
    if (v) metrics_->add_cache_hit();
    return v;
  }

  static Verdict one(Function& f, const Record& r) {
    try {
      return f.score(r);
    } catch (const std::exception& e) {
      return make_verdict(Kind::kError, 0, e.what());
    }
  }

  std::shared_ptr<Shared> shared_;
  std::shared_ptr<Instances> instances_;
  FunctionMetrics* metrics_ = nullptr;
  const int wait_ms_;
  std::string name_, version_;
  bool wants_reasoning_ = false, wants_truth_ = false, repeatable_ = true;
  size_t batch_ = 1;
};

}  // namespace

Instances::Instances(Make make, int limit) : make_(std::move(make)), limit_(limit) {
  idle_.push_back(make_());
  made_ = 1;
}

std::unique_ptr<Function> Instances::take(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (!idle_.empty()) {
      auto f = std::move(idle_.back());
      idle_.pop_back();
      return f;
    }
    if (made_ < limit_) break;
    if (given_back_.wait_until(lock, deadline) == std::cv_status::timeout && idle_.empty()) return nullptr;
  }
  ++made_;
  lock.unlock();
  try {
    return make_();
  } catch (...) {
    lock.lock();
    --made_;
    throw;
  }
}

void Instances::give_back(std::unique_ptr<Function> function) {
  {
    std::lock_guard lock(mutex_);
    idle_.push_back(std::move(function));
  }
  given_back_.notify_one();
}

std::shared_ptr<Instances> Shared::instances(const std::string& spec, const Instances::Make& make, int limit) {
  std::lock_guard lock(mutex_);
  auto& found = instances_[spec];
  if (!found) {
    try {
      found = std::make_shared<Instances>(make, limit);
    } catch (...) {
      instances_.erase(spec);
      throw;
    }
  }
  return found;
}

std::unique_ptr<Function> make_guarded(std::shared_ptr<Shared> shared, std::shared_ptr<Instances> instances,
                                       int wait_ms) {
  return std::make_unique<Guarded>(std::move(shared), std::move(instances), wait_ms);
}

}  // namespace fulmen::reward
