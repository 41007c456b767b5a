#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <cstdlib>

#include "kernels/error.h"
#include "reward/functions.h"
#include "reward/python_host.h"
#include "reward/reward.h"
#include "shared/base/config.h"

namespace fulmen::reward {
namespace {

struct Weighted {
  std::unique_ptr<Function> function;
  double weight = 1;
};

// Takes "=WEIGHT" off the end of a spec. What stands behind the last "=" of a file name is not a number.
double take_weight(std::string& spec) {
  size_t equals = spec.rfind('=');
  if (equals == std::string::npos || equals + 1 == spec.size()) return 1;
  char* end = nullptr;
  double weight = std::strtod(spec.c_str() + equals + 1, &end);
  if (*end != '\0') return 1;
  FULMEN_CHECK(std::isfinite(weight), "reward function " + spec + ": the weight is not a finite number");
  spec.resize(equals);
  return weight;
}

Weighted make_one(std::string spec, int deadline_ms) {
  double weight = take_weight(spec);
  if (spec == "math") return {make_math(), weight};
  if (spec == "format") return {make_format(), weight};
  if (spec.rfind("python:", 0) == 0) {
    size_t colon = spec.rfind(':');
    FULMEN_CHECK(colon > 7 && colon + 1 < spec.size(),
                 "reward function " + spec + ": want python:FILE.py:FUNCTION, e.g. python:my_reward.py:reward");
    PythonOptions options;
    options.deadline_ms = deadline_ms;
    return {make_python(spec.substr(7, colon - 7), spec.substr(colon + 1), options), weight};
  }
  std::string near = base::nearest(spec, {"math", "format", "python"});
  throw Error(fmt::format("unknown reward function {}{} (known: math, format, python:FILE.py:FUNCTION)", spec,
                          near.empty() ? "" : ", did you mean " + near));
}

class WeightedSum : public Function {
 public:
  explicit WeightedSum(std::vector<Weighted> parts) : parts_(std::move(parts)) {
    for (const Weighted& p : parts_) name_ += (name_.empty() ? "" : "+") + p.function->name();
  }

  const std::string& name() const override { return name_; }

  Verdict score(const Record& r) override {
    auto start = std::chrono::steady_clock::now();
    Verdict total;
    for (const Weighted& p : parts_) {
      Verdict v = one(*p.function, r);
      if (!v.detail.empty()) {
        std::string from = parts_.size() > 1 ? p.function->name() + ": " : "";
        total.detail += (total.detail.empty() ? "" : "; ") + from + v.detail;
      }
      if (v.kind != Kind::kScore) {  // a sum with a part missing would be a silent wrong score
        total.kind = v.kind;
        total.score = 0;
        break;
      }
      total.score += p.weight * v.score;
      total.components.emplace_back(p.function->name(), v.score);
      for (auto& c : v.components) total.components.push_back(std::move(c));
    }
    total.ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    return total;
  }

 private:
  static Verdict one(Function& f, const Record& r) {
    try {
      return f.score(r);
    } catch (const std::exception& e) {  // a defect of ours costs this record and shows in its verdict
      Verdict v;
      v.kind = Kind::kError;
      v.detail = e.what();
      return v;
    }
  }

  std::vector<Weighted> parts_;
  std::string name_;
};

}  // namespace

const char* kind_name(Kind k) {
  switch (k) {
    case Kind::kScore:
      return "score";
    case Kind::kTimeout:
      return "timeout";
    case Kind::kError:
      return "error";
    case Kind::kUnparsable:
      return "unparsable";
  }
  return "error";
}

std::unique_ptr<Function> make_reward(const std::vector<std::string>& specs, int deadline_ms) {
  FULMEN_CHECK(!specs.empty(),
               "reward.functions: got none, want at least one of math, format, python:FILE.py:FUNCTION");
  FULMEN_CHECK(deadline_ms > 0, fmt::format("reward.deadline_ms: got {}, want at least 1", deadline_ms));
  std::vector<Weighted> parts;
  for (const std::string& spec : specs) parts.push_back(make_one(spec, deadline_ms));
  return std::make_unique<WeightedSum>(std::move(parts));
}

}  // namespace fulmen::reward
