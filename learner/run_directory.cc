#include "learner/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "shared/base/file.h"

namespace fulmen::learner {
namespace {

namespace fs = std::filesystem;

bool holds_run(const std::string& dir) {
  return fs::exists(dir + "/metrics.jsonl") ||
         (fs::exists(dir + "/checkpoints") && !fs::is_empty(dir + "/checkpoints"));
}

}  // namespace

RunLock::RunLock(const std::string& run_dir) {
  base::make_directories(run_dir);
  const std::string path = run_dir + "/lock";
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  FULMEN_CHECK(fd_ >= 0, "cannot open " + path + ": " + std::strerror(errno));
  if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    char pid[32] = {};
    if (read(fd_, pid, sizeof pid - 1) < 0) pid[0] = 0;
    close(fd_);
    throw Error(run_dir + " is in use by another run (pid " + pid + "): wait for it or give run.dir=ANOTHER");
  }
  const std::string pid = std::to_string(getpid());
  FULMEN_CHECK(ftruncate(fd_, 0) == 0 && write(fd_, pid.data(), pid.size()) == static_cast<ssize_t>(pid.size()),
               "cannot write " + path + ": " + std::strerror(errno));
}

RunLock::~RunLock() { close(fd_); }

void prepare_run_directory(const base::Config& config, Start start) {
  const std::string& dir = config.run.dir;
  if (start == Start::kNew && holds_run(dir))
    throw base::ConfigError(dir +
                            " already holds a run: add --resume to go on, --fresh to start over, or run.dir=ANOTHER");
  if (start == Start::kFresh)
    for (const char* part :
         {"/metrics.jsonl", "/checkpoints", "/episodes", "/export", "/logs", "/tensorboard", "/report.html"})
      base::remove_all(dir + part);
  for (const char* part : {"", "/logs", "/episodes", "/checkpoints"}) base::make_directories(dir + part);
}

std::string run_id_of(const std::string& run_dir) {
  const std::string path = fs::absolute(run_dir);
  return base::hex(base::digest128(path.data(), path.size())).substr(0, 12);
}

}  // namespace fulmen::learner
