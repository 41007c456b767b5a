#include <unistd.h>

#include <cctype>
#include <filesystem>

#include "kernels/error.h"
#include "reward/line_host.h"
#include "shared/base/file.h"

namespace fulmen::reward {
namespace {

// Words as a shell would see them, without anything else a shell does.
std::vector<std::string> split_words(const std::string& command) {
  std::vector<std::string> words;
  std::string word;
  bool inside = false;
  char quote = 0;
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    if (quote != 0 && c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
      inside = true;
    } else if (quote == 0 && std::isspace(static_cast<unsigned char>(c))) {
      if (inside) words.push_back(std::exchange(word, {}));
      inside = false;
    } else {
      word += c == '\\' && quote != '\'' && i + 1 < command.size() ? command[++i] : c;
      inside = true;
    }
  }
  FULMEN_CHECK(quote == 0, "reward function command:" + command + ": a quote is not closed");
  if (inside) words.push_back(word);
  return words;
}

// Changes with the files that the command names: program and scripts.
std::string version_of(const std::vector<std::string>& words) {
  std::string bytes;
  for (const std::string& word : words) {
    bytes += word + '\0';
    std::error_code ignored;
    if (std::filesystem::is_regular_file(word, ignored)) bytes += base::read_file(word);
  }
  return base::hex(base::digest128(bytes.data(), bytes.size())).substr(0, 12);
}

LineHostOptions host_options(const RewardOptions& options) {
  LineHostOptions o;
  o.deadline_ms = options.deadline_ms;
  o.memory_bytes = options.memory_bytes;
  return o;
}

}  // namespace

std::unique_ptr<Function> make_command(const std::string& command, const RewardOptions& options) {
  LineHostOptions o = host_options(options);
  o.arguments = split_words(command);
  FULMEN_CHECK(!o.arguments.empty(), "reward function command: want command:PROGRAM ARGS");
  o.name = std::filesystem::path(o.arguments[0]).filename();
  o.where = "reward command:" + command;
  o.version = o.name + "@" + version_of(o.arguments);
  o.greets = false;
  return make_line_host(std::move(o));
}

std::unique_ptr<Function> make_c_library(const std::string& file, const RewardOptions& options) {
  FULMEN_CHECK(!file.empty(), "reward function c: want c:FILE.so");
  LineHostOptions o = host_options(options);
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe");
  o.name = std::filesystem::path(file).stem();
  o.where = "reward c:" + file;
  o.arguments = {here.parent_path() / "fulmen-reward-library", std::filesystem::absolute(file)};
  o.version = o.name + "@" + version_of({file});
  return make_line_host(std::move(o));
}

}  // namespace fulmen::reward
