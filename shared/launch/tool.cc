#include "shared/launch/tool.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "kernels/error.h"

namespace fulmen::launch {

std::string own_directory() {
  std::error_code code;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", code);
  FULMEN_CHECK(!code, "cannot find the directory of this program: /proc/self/exe: " + code.message());
  return self.parent_path().string();
}

bool is_executable(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

void become(const std::string& path, const std::vector<std::string>& arguments) {
  std::vector<std::string> words = arguments;  // execv wants writable strings
  words.insert(words.begin(), path);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(path.c_str(), argv.data());
  throw Error("cannot run " + path + ": " + std::system_category().message(errno));
}

}  // namespace fulmen::launch
