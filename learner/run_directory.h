#pragma once
// The run directory: who may use it, and what a new, resumed or fresh run finds in it.

#include <string>

#include "shared/base/config.h"

namespace fulmen::learner {

enum class Start { kNew, kResume, kFresh };  // kNew: the run directory must not hold a run yet

// Exclusive use of a run directory: a second process in it is an Error naming the first one's pid.
class RunLock {
 public:
  explicit RunLock(const std::string& run_dir);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_ = -1;
};

// ConfigError when a new run would overwrite one. kFresh removes what earlier runs left, and nothing else.
void prepare_run_directory(const base::Config& config, Start start);

std::string run_id_of(const std::string& run_dir);  // same directory, same id: a killed run's leftovers are found again

}  // namespace fulmen::learner
