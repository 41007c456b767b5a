#pragma once
// Verdicts. A reward function looks at one record and returns a typed verdict; it never silently returns 0: timeout,
// error and unparsable are their own kinds, and only scores enter an advantage. Host only: includes shared/base,
// shared/wire.

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace fulmen::reward {

struct Record {
  std::string id;  // any JSON scalar, kept verbatim
  std::string data_source;
  std::string prompt, response, ground_truth;
  std::string extra_info = "{}";  // JSON object
};

enum class Kind { kScore, kTimeout, kError, kUnparsable };
const char* kind_name(Kind k);  // "score" ...

struct Verdict {
  Kind kind = Kind::kScore;
  double score = 0;
  std::vector<std::pair<std::string, double>> components;  // function name -> its score; further numbers it reported
  std::string detail;
  double ms = 0;
};

class Function {
 public:
  virtual ~Function() = default;
  virtual const std::string& name() const = 0;
  virtual Verdict score(const Record& r) = 0;  // within its deadline; expected trouble is a verdict, not an exception
};

// spec: "math", "format", "python:FILE.py:FUNCTION", each optionally "=WEIGHT". Throws Error for an unknown name
// (nearest known named) or a Python file that does not load (with Python's last line). Several functions: weighted sum;
// the first verdict that is not a score decides the kind.
std::unique_ptr<Function> make_reward(const std::vector<std::string>& specs, int deadline_ms);

}  // namespace fulmen::reward
