#include "shared/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/error.h"

namespace fulmen::base {
namespace {

// People read stderr: no time stamps, a word only where something is wrong.
struct Log {
  std::mutex mutex;
  std::unique_ptr<spdlog::logger> file;
  bool quiet = false;
  const bool terminal = isatty(STDERR_FILENO) == 1;
};

Log& the_log() {
  static Log log;
  return log;
}

void write_stderr(const Log& log, int level, const std::string& text) {
  static constexpr const char* kWord[] = {"", "", "warning: ", "error: "};
  // A progress line may stand on the terminal: clear it; its owner redraws it below this message.
  std::string line = log.terminal ? "\r\033[K" : "";
  line += kWord[level] + text + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

void open_log(const std::string& role, const std::string& path, bool quiet) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  log.quiet = quiet;
  log.file.reset();
  if (path.empty()) return;
  try {
    log.file = std::make_unique<spdlog::logger>(role, std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
  } catch (const spdlog::spdlog_ex& e) {
    throw Error("log " + path + ": " + e.what());
  }
  log.file->set_pattern("%Y-%m-%d %H:%M:%S.%e %n %l: %v");
  log.file->set_level(spdlog::level::debug);
  log.file->flush_on(spdlog::level::debug);  // a killed process leaves its last line
}

void log_message(int level, const std::string& text) {
  static constexpr spdlog::level::level_enum kLevel[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                                         spdlog::level::err};
  level = std::clamp(level, 0, 3);
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  if (log.file) log.file->log(kLevel[level], text);
  if (level >= (log.quiet ? 2 : 1)) write_stderr(log, level, text);
}

}  // namespace fulmen::base
