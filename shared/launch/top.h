#pragma once
// `fulmen top RUN`: the newest numbers of a run with a short history, redrawn while it goes on. Reads files only.

#include <string>
#include <vector>

namespace fulmen::launch {

std::string render_top(const std::string& run_dir);  // plain lines

int run_top(const std::vector<std::string>& words);

}  // namespace fulmen::launch
