#pragma once
// How a reward function is named in reward.functions and by --function:
//
//   NAME                    math, code, logic, format, ...
//   NAME(key=value ...)     math(profile=hendrycks), length(limit=4096 soft=512)
//   python:FILE.py:FUNCTION | command:PROGRAM ARGS | http://HOST:PORT/PATH | c:FILE.so
//   any of these, then =WEIGHT     format=0.1

#include <map>
#include <set>
#include <string>

namespace fulmen::reward {

class FunctionSpec {
 public:
  explicit FunctionSpec(const std::string& text);  // throws Error naming the text

  const std::string& name() const { return name_; }          // "math", "python", "http"
  const std::string& argument() const { return argument_; }  // behind the colon; of http the whole address
  double weight() const { return weight_; }

  // Options, each asked for by the function that has it. Throws Error when a value is no number or out of range.
  std::string text(const std::string& key, const std::string& fallback);
  double number(const std::string& key, double fallback, double low, double high);
  // After all were asked for: throws Error for a key that is not known, naming the nearest.
  void finish() const;

 private:
  void take_weight(std::string& text);
  void take_options(std::string& text);

  std::string text_, name_, argument_;
  double weight_ = 1;
  std::map<std::string, std::string> options_;
  std::set<std::string> asked_;
};

}  // namespace fulmen::reward
