#pragma once
// Tool binaries beside the front.

#include <string>
#include <vector>

namespace fulmen::launch {

std::string own_directory();  // of the running binary; throws Error when /proc is absent

bool is_executable(const std::string& path);

// Becomes `path` with these arguments. Throws Error naming the path and the reason when that fails.
[[noreturn]] void become(const std::string& path, const std::vector<std::string>& arguments);

}  // namespace fulmen::launch
