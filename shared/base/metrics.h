#pragma once
// Numbers of a run: one JSON object a step in metrics.jsonl (the source of truth) and, if asked, TensorBoard event
// files. Names are verl's where verl has one (facts/systems d.1); new ones are prefixed cispo/, numerics/, sync/.

#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace fulmen::base {

using Metrics = std::map<std::string, double>;

// Whether values of this name depend on the machine and the hour, not on the run.
bool is_of_the_clock(std::string_view name);

class MetricsWriter {  // one per run, owned by the conductor; not thread-safe
 public:
  // Opens run_dir/metrics.jsonl for appending after dropping every line with step > last_step (resume) or a torn last
  // line.
  MetricsWriter(const std::string& run_dir, int64_t last_step, bool tensorboard);
  ~MetricsWriter();
  void write(int64_t step, const Metrics& m);  // flushed at once; values that are not finite are written as null

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fulmen::base
