#include "reward/python_host.h"

#include <cstdlib>

#include "reward/line_host.h"
#include "shared/base/file.h"

namespace fulmen::reward {

std::unique_ptr<Function> make_python(const std::string& file, const std::string& function,
                                      const PythonOptions& options) {
  const char* chosen = std::getenv("FULMEN_PYTHON");
  LineHostOptions o;
  o.name = function;
  o.where = "reward python:" + file + ":" + function;
  o.arguments = {chosen != nullptr ? chosen : "python3", "-c", python_program(), file, function};
  o.deadline_ms = options.deadline_ms;
  o.start_ms = options.start_ms;
  o.memory_bytes = options.memory_bytes;
  o.max_pause_ms = options.max_pause_ms;
  std::string code;
  try {
    code = base::read_file(file);
  } catch (const std::exception&) {  // Python says it better, with the reason
  }
  o.version = function + "@" + base::hex(base::digest128(code.data(), code.size())).substr(0, 12);
  return make_line_host(std::move(o));
}

}  // namespace fulmen::reward
