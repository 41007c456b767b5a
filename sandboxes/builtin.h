#pragma once
// Files of this folder as text, so that fulmen-sandbox needs none of them beside it.

#include <vector>

namespace fulmen::sandboxes {

const std::vector<const char*>& builtin_profiles();
const char* warm_python_source();  // python/values.py, tests.py, warm.py, joined

}  // namespace fulmen::sandboxes
