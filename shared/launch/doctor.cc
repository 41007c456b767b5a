#include "shared/launch/doctor.h"

#include <fmt/format.h>

#include "kernels/error.h"
#include "shared/launch/arguments.h"
#include "shared/launch/tool.h"

namespace fulmen::launch {

int run_doctor(const std::vector<std::string>& words) {
  if (!words.empty() && words[0] == "sandbox") {
    const std::string path = own_directory() + "/fulmen-sandbox";
    if (!is_executable(path)) throw Error("doctor sandbox: its program is not built: want " + path);
    std::vector<std::string> rest(words.begin() + 1, words.end());
    rest.insert(rest.begin(), "doctor");
    become(path, rest);
  }
  const Usage usage{
      "doctor",
      "Says what this machine offers and what is in the way of a run. Exit code 1 when something stops one. "
      "`doctor sandbox` says which isolation of untrusted programs is usable here.",
      {},
      {{"--dir", "RUN", "directory the run will write to (default: here)"}}};
  const Arguments a = parse_arguments(usage, words);
  if (a.help) {
    fmt::print("{}", usage_text(usage));
    return 0;
  }
  int problems = 0;
  for (const Finding& f : examine_host(a.has("--dir") ? a.options.at("--dir") : ".")) {
    static constexpr const char* kMark[] = {"  ok   ", "  note ", "  STOP "};
    fmt::print("{}{:<14}{}\n", kMark[static_cast<int>(f.health)], f.name, f.text);
    problems += f.health == Health::kProblem;
  }
  if (problems > 0) fmt::print("\n{} of these must be put right before a run.\n", problems);
  return problems > 0 ? 1 : 0;
}

}  // namespace fulmen::launch
