#include "reward/function_metrics.h"

#include <fmt/core.h>

namespace fulmen::reward {
namespace {

std::string label(const std::string& text) {  // escaped as the exposition format wants it
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

}  // namespace

void FunctionMetrics::add(const Verdict& v, double seconds) {
  kinds_[static_cast<size_t>(v.kind)].fetch_add(1, std::memory_order_relaxed);
  size_t bucket = 0;
  while (bucket < kSeconds.size() && seconds > kSeconds[bucket]) ++bucket;
  buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
  nanoseconds_.fetch_add(static_cast<uint64_t>(seconds * 1e9), std::memory_order_relaxed);
}

uint64_t FunctionMetrics::count() const {
  uint64_t n = 0;
  for (const auto& k : kinds_) n += k.load(std::memory_order_relaxed);
  return n;
}

void FunctionMetrics::print(const std::string& function, std::string& out) const {
  const std::string name = label(function);
  for (size_t k = 0; k < kinds_.size(); ++k)
    out += fmt::format("fulmen_reward_verdicts_total{{function=\"{}\",verdict=\"{}\"}} {}\n", name,
                       kind_name(static_cast<Kind>(k)), kinds_[k].load());
  out += fmt::format("fulmen_reward_cache_hits_total{{function=\"{}\"}} {}\n", name, cache_hits_.load());
  uint64_t below = 0;
  for (size_t b = 0; b < buckets_.size(); ++b) {
    below += buckets_[b].load();
    const std::string bound = b < kSeconds.size() ? fmt::format("{}", kSeconds[b]) : "+Inf";
    out += fmt::format("fulmen_reward_seconds_bucket{{function=\"{}\",le=\"{}\"}} {}\n", name, bound, below);
  }
  out += fmt::format("fulmen_reward_seconds_sum{{function=\"{}\"}} {}\n", name,
                     static_cast<double>(nanoseconds_.load()) * 1e-9);
  out += fmt::format("fulmen_reward_seconds_count{{function=\"{}\"}} {}\n", name, below);
}

FunctionMetrics& MetricsBook::of(const std::string& function) {
  std::lock_guard lock(mutex_);
  auto& m = functions_[function];
  if (!m) m = std::make_unique<FunctionMetrics>();
  return *m;
}

std::string MetricsBook::prometheus() const {
  std::string out =
      "# HELP fulmen_reward_verdicts_total Verdicts by function and kind.\n"
      "# TYPE fulmen_reward_verdicts_total counter\n"
      "# HELP fulmen_reward_cache_hits_total Verdicts that came from the cache.\n"
      "# TYPE fulmen_reward_cache_hits_total counter\n"
      "# HELP fulmen_reward_seconds Time of one record in a function, cache hits excluded.\n"
      "# TYPE fulmen_reward_seconds histogram\n";
  std::lock_guard lock(mutex_);
  // One metric's samples stand together, as the format asks: print function by function, then sort by metric name.
  std::map<std::string, std::string> by_metric;
  for (const auto& [name, metrics] : functions_) {
    std::string text;
    metrics->print(name, text);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin) + 1;
      const std::string line = text.substr(begin, end - begin);
      std::string metric = line.substr(0, line.find('{'));
      if (metric.rfind("fulmen_reward_seconds", 0) == 0) metric = "fulmen_reward_seconds";
      by_metric[metric] += line;
      begin = end;
    }
  }
  for (const auto& [metric, lines] : by_metric) out += lines;
  return out;
}

}  // namespace fulmen::reward
