#include "reward/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "kernels/error.h"
#include "reward/code/code_function.h"
#include "reward/code/extract_code.h"
#include "reward/function_spec.h"
#include "reward/functions.h"
#include "reward/guarded.h"
#include "reward/http_function.h"
#include "reward/judge.h"
#include "reward/line_host.h"
#include "reward/logic.h"
#include "reward/math/math_function.h"
#include "reward/python_host.h"
#include "reward/weighted_sum.h"
#include "shared/base/config.h"

namespace fulmen::reward {
namespace {

constexpr int kUnlimited = 1 << 20;

struct Entry {
  const char* name;
  const char* usage;  // one line for --help
  std::unique_ptr<Function> (*make)(FunctionSpec& spec, const RewardOptions& options);
};

std::string unknown(const std::string& what, const std::string& name, const std::vector<std::string>& known) {
  const std::string near = base::nearest(name, known);
  return fmt::format("unknown {} {}{} (known: {})", what, name, near.empty() ? "" : ", did you mean " + near,
                     fmt::join(known, ", "));
}

std::unique_ptr<Function> make_math_of(FunctionSpec& spec, const RewardOptions& options) {
  return math::make_math(spec.text("profile", options.profile));
}

std::unique_ptr<Function> make_logic_of(FunctionSpec&, const RewardOptions&) { return make_logic(); }

bool choice(FunctionSpec& spec, const std::string& key, const std::string& fallback, const std::string& other) {
  const std::string value = spec.text(key, fallback);
  FULMEN_CHECK(value == fallback || value == other,
               fmt::format("reward function {}: {}: got {}, want {} or {}", spec.name(), key, value, fallback, other));
  return value == fallback;
}

std::unique_ptr<Function> make_format_of(FunctionSpec& spec, const RewardOptions&) {
  FormatOptions o;
  o.tags_required = choice(spec, "tags", "required", "optional");
  o.final_answer = !choice(spec, "answer", "any", "final");
  o.words = static_cast<int>(spec.number("words", o.words, 1, 1e6));
  return make_format(o);
}

std::unique_ptr<Function> make_length_of(FunctionSpec& spec, const RewardOptions&) {
  LengthOptions o;
  o.limit = static_cast<int64_t>(spec.number("limit", static_cast<double>(o.limit), 1, 1e9));
  o.soft = static_cast<int64_t>(spec.number("soft", static_cast<double>(std::min(o.soft, o.limit)), 0, 1e9));
  o.tokens = choice(spec, "unit", "tokens", "chars");
  return make_length(o);
}

std::unique_ptr<Function> make_language_of(FunctionSpec& spec, const RewardOptions&) {
  return make_language(spec.text("want", "prompt"));
}

std::unique_ptr<Function> make_python_of(FunctionSpec& spec, const RewardOptions& options) {
  const std::string& argument = spec.argument();
  const size_t colon = argument.rfind(':');
  FULMEN_CHECK(colon != std::string::npos && colon > 0 && colon + 1 < argument.size(),
               fmt::format("reward function python:{}: want python:FILE.py:FUNCTION, e.g. python:my_reward.py:reward",
                           argument));
  PythonOptions python;
  python.deadline_ms = options.deadline_ms;
  python.memory_bytes = options.memory_bytes;
  return make_python(argument.substr(0, colon), argument.substr(colon + 1), python);
}

// The sandbox knows these four and those of profiles; asking it would take a process before the first record.
void check_language(const std::string& word) {
  const std::vector<std::string> known{"python", "c", "cpp", "shell"};
  FULMEN_CHECK(std::count(known.begin(), known.end(), language_name(word)) != 0, unknown("language", word, known));
}

std::unique_ptr<Function> make_code_of(FunctionSpec& spec, const RewardOptions& options) {
  CodeOptions code;
  code.language = spec.text("language", options.language);
  const std::string file = spec.text("profile", "");
  if (!file.empty())
    code.profiles.push_back(file);  // it may define languages of its own
  else if (!code.language.empty())
    check_language(code.language);
  code.cpu_s = spec.number("cpu_s", 0, 0, 86400);
  code.memory_mb = spec.number("memory_mb", 0, 0, 1 << 22);
  code.cgroup = spec.text("cgroup", "auto");
  return make_code(code);
}

std::unique_ptr<Function> make_command_of(FunctionSpec& spec, const RewardOptions& options) {
  return make_command(spec.argument(), options);
}

std::unique_ptr<Function> make_library_of(FunctionSpec& spec, const RewardOptions& options) {
  return make_c_library(spec.argument(), options);
}

std::unique_ptr<Function> make_http_of(FunctionSpec& spec, const RewardOptions& options) {
  HttpFunctionOptions o;
  o.form = spec.text("form", o.form);
  o.attempts = static_cast<int>(spec.number("attempts", o.attempts, 1, 100));
  o.deadline_ms = options.deadline_ms;
  return make_http(spec.argument(), o);
}

std::unique_ptr<Function> make_judge_of(FunctionSpec& spec, const RewardOptions& options) {
  JudgeOptions o;
  o.url = spec.text("url", "");
  FULMEN_CHECK(!o.url.empty(), "reward function judge: want the server, judge(url=http://HOST:PORT model=NAME)");
  o.model = spec.text("model", o.model);
  o.pairwise = !choice(spec, "form", "grade", "pairwise");
  o.min_chars = static_cast<int>(spec.number("min_chars", o.min_chars, 0, 1e6));
  o.max_tokens = static_cast<int>(spec.number("max_tokens", o.max_tokens, 1, 1e6));
  o.attempts = static_cast<int>(spec.number("attempts", o.attempts, 1, 100));
  o.key_variable = spec.text("key_variable", o.key_variable);
  o.deadline_ms = options.deadline_ms;
  return make_judge(o);
}

// Every name a spec may begin with. One line a function.
constexpr Entry kEntries[] = {
    {"math", "the final answer equals the ground truth; math(profile=strict|math-verify|hendrycks)", make_math_of},
    {"code", "the program passes its tests, in a sandbox; code(language=python cpu_s=10 memory_mb=1024 profile=FILE)",
     make_code_of},
    {"logic", "the answer follows the rules of its puzzle; fulmen task list shows the kinds", make_logic_of},
    {"format", "reasoning in one pair of tags; format(tags=required|optional answer=any|final words=1)",
     make_format_of},
    {"length", "0 to -1 near the limit; length(limit=4096 soft=512 unit=tokens|chars)", make_length_of},
    {"language", "share of letters in a language's script; language(want=prompt|en|zh|...)", make_language_of},
    {"judge", "a model grades; judge(url=http://HOST:PORT model=NAME form=grade|pairwise deadline_ms=60000)",
     make_judge_of},
    {"python", "python:FILE.py:FUNCTION; verl's, TRL's and OpenRLHF's signatures too", make_python_of},
    {"command", "command:PROGRAM ARGS, JSON lines on stdin and stdout", make_command_of},
    {"http", "http://HOST:PORT/PATH(form=fulmen|openrlhf|slime)", make_http_of},
    {"https", "the same over TLS", make_http_of},
    {"c", "c:FILE.so, a library with the interface of reward/fulmen_reward.h", make_library_of},
};

// What published data sets call themselves, by the start of the last part of the name (openai/gsm8k, lighteval/MATH).
constexpr std::pair<const char*, const char*> kSources[] = {
    {"gsm8k", "math"},         {"math", "math"},         {"aime", "math"},      {"amc", "math"},
    {"deepscaler", "math"},    {"arithmetic", "math"},   {"humaneval", "code"}, {"mbpp", "code"},
    {"code_contests", "code"}, {"codecontests", "code"}, {"apps", "code"},      {"taco", "code"},
    {"livecodebench", "code"}, {"synlogic", "logic"},
};

const Entry* find_entry(const std::string& name) {
  const auto at =
      std::find_if(std::begin(kEntries), std::end(kEntries), [&](const Entry& e) { return name == e.name; });
  return at == std::end(kEntries) ? nullptr : at;
}

std::string unknown_entry(const std::string& what, const std::string& name) {
  std::vector<std::string> names;
  for (const Entry& e : kEntries) names.push_back(e.name);
  return unknown(what, name, names);
}

Weighted make_one(const std::string& text, const RewardOptions& options);

// The function that each record names.
class ByKind : public Function {
 public:
  explicit ByKind(const RewardOptions& options) : options_(options) {}

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return name_; }
  bool wants_reasoning() const override { return true; }  // each function made here decides for itself
  bool wants_truth() const override { return false; }
  Verdict score(const Record& r) override { return function_of(r).score(r); }
  std::string truth_problem(const Record& r) override { return function_of(r).truth_problem(r); }

 private:
  Function& function_of(const Record& r) {
    const std::string kind = function_of_kind(r.kind, r.data_source);
    auto& function = functions_[kind];
    if (!function) function = make_reward({kind}, options_);
    return *function;
  }

  RewardOptions options_;
  std::map<std::string, std::unique_ptr<Function>> functions_;
  std::string name_ = "auto";
};

Weighted make_one(const std::string& text, const RewardOptions& options) {
  FunctionSpec spec(text);
  if (spec.name() == "auto") return {std::make_unique<ByKind>(options), spec.weight()};
  const Entry* entry = find_entry(spec.name());
  FULMEN_CHECK(entry != nullptr, unknown_entry("reward function", spec.name()));
  RewardOptions own = options;
  own.deadline_ms = static_cast<int>(spec.number("deadline_ms", options.deadline_ms, 1, 1 << 30));
  own.memory_bytes =
      static_cast<uint64_t>(spec.number("memory_mb", static_cast<double>(options.memory_bytes >> 20), 1, 1 << 30))
      << 20;
  const int concurrency = static_cast<int>(spec.number("concurrency", kUnlimited, 1, kUnlimited));
  own.shared = nullptr;
  const auto make = [entry, text, own] {
    FunctionSpec again(text);
    for (const char* key : {"deadline_ms", "memory_mb", "concurrency"}) again.text(key, "");
    auto function = entry->make(again, own);
    again.finish();
    return function;
  };
  if (!options.shared) return {make(), spec.weight()};
  const std::string key = fmt::format("{}\n{}\n{}", text, options.profile, options.language);
  return {make_guarded(options.shared, options.shared->instances(key, make, concurrency), own.deadline_ms),
          spec.weight()};
}

}  // namespace

std::string function_usage() {
  std::string text;
  for (const Entry& e : kEntries) text += fmt::format("  {:<10} {}\n", e.name, e.usage);
  return text;
}

std::string function_of_kind(const std::string& kind, const std::string& data_source) {
  if (is_logic_kind(kind) || data_source.starts_with("logic/")) return "logic";
  if (!kind.empty()) {
    FULMEN_CHECK(find_entry(kind) != nullptr, unknown_entry("kind", kind));
    return kind;
  }
  if (data_source.empty()) return "math";
  std::string last = data_source.substr(data_source.rfind('/') + 1);
  std::transform(last.begin(), last.end(), last.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const auto& [source, name] : kSources)
    if (last.rfind(source, 0) == 0) return name;
  throw Error(
      fmt::format("data_source {}: no reward function is known for it; give --kind or --function", data_source));
}

std::unique_ptr<Function> make_reward(const std::vector<std::string>& specs, const RewardOptions& options) {
  FULMEN_CHECK(!specs.empty(),
               "reward.functions: got none, want at least one, e.g. math, format, python:FILE.py:FUNCTION");
  FULMEN_CHECK(options.deadline_ms > 0,
               fmt::format("reward.deadline_ms: got {}, want at least 1", options.deadline_ms));
  std::vector<Weighted> parts;
  for (const std::string& spec : specs) parts.push_back(make_one(spec, options));
  return make_weighted_sum(std::move(parts));
}

}  // namespace fulmen::reward
