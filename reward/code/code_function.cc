#include "reward/code/code_function.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include "kernels/error.h"
#include "reward/code/code_tests.h"
#include "reward/code/extract_code.h"
#include "reward/code/repository.h"
#include "reward/code/test_runs.h"

namespace fulmen::reward {
namespace {

constexpr double kDefaultCpuS = 10, kDefaultAssertsCpuS = 30;

size_t content_hash(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  FULMEN_CHECK(in.good(), "code: cannot read profile " + file);
  return std::hash<std::string>()({std::istreambuf_iterator<char>(in), {}});
}

// A program that does nothing; empty for a language of the user's own.
std::string empty_program(const std::string& language) {
  if (language == "python") return "pass\n";
  if (language == "shell") return ":\n";
  return language == "c" || language == "cpp" ? "int main(void) { return 0; }\n" : "";
}

class Code : public Function {
 public:
  explicit Code(const CodeOptions& options)
      : options_(options), sandbox_({options.sandbox, options.profiles, options.cgroup}) {
    options_.language = language_name(options.language.empty() ? "python" : options.language);
    version_ = fmt::format("code-3({},cpu_s={},memory_mb={}", options_.language, options_.cpu_s, options_.memory_mb);
    for (const std::string& p : options_.profiles) version_ += fmt::format(",{}:{:x}", p, content_hash(p));
    version_ += ")";
  }

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_truth() const override { return false; }  // the tests may stand beside it

  // The tests are read and run once, against a program that does nothing: that shows asserts that do not compile, and
  // tests that pass whatever the response says.
  std::string truth_problem(const Record& record) override {
    Record r = record;
    try {
      const CodeTests tests = read_code_tests(r);
      if (tests.form == CodeTests::Form::kRepository) {
        const std::string& directory = tests.repository.directory;
        return std::filesystem::is_directory(directory) ? "" : "repository: " + directory + " is not a directory";
      }
      r.response = empty_program(tests.language.empty() ? options_.language : tests.language);
      if (r.response.empty()) return "";
    } catch (const Error& e) {
      return e.what();
    }
    const Verdict v = score(r);
    if (v.kind == Kind::kError) return v.detail;
    return v.kind == Kind::kScore && v.score > 0 ? "a program that does nothing passes the tests" : "";
  }

  Verdict score(const Record& r) override {
    CodeTests tests;
    try {
      tests = read_code_tests(r);
    } catch (const Error& e) {
      return make_verdict(Kind::kError, 0, e.what());
    }
    const bool repository = tests.form == CodeTests::Form::kRepository;
    const std::string language = tests.language.empty() || repository ? options_.language : tests.language;
    const std::string entry = tests.entry.empty() ? name_under_test(tests.asserts) : tests.entry;
    const std::string code = repository ? extract_patch(r.response) : extract_code(r.response, language, entry);
    if (code.empty()) return make_verdict(Kind::kUnparsable, 0, "no program in the response");
    Tally tally;
    try {
      tally = run(r, tests, language, code);
    } catch (const Error& e) {
      return make_verdict(Kind::kError, 0, e.what());
    }
    return conclude(tally);
  }

 private:
  Tally run(const Record& r, const CodeTests& tests, const std::string& language, const std::string& code) {
    const auto deadline = r.deadline_ms > 0
                              ? std::chrono::steady_clock::now() + std::chrono::milliseconds(r.deadline_ms)
                              : std::chrono::steady_clock::time_point::max();
    const bool asserts = tests.form == CodeTests::Form::kAsserts;
    SandboxLimits limits;
    limits.cpu_s = tests.cpu_s > 0      ? tests.cpu_s
                   : options_.cpu_s > 0 ? options_.cpu_s
                   : asserts            ? kDefaultAssertsCpuS
                                        : kDefaultCpuS;
    limits.memory_mb = tests.memory_mb > 0 ? tests.memory_mb : options_.memory_mb;
    const SandboxLanguage& found = sandbox_.language(language);
    const TestRun run{sandbox_, found, tests, limits, deadline};
    if (tests.form == CodeTests::Form::kRepository) return run_repository(run, code);
    if (tests.form == CodeTests::Form::kInputOutput) return run_input_output(run, code);
    FULMEN_CHECK(found.warm, "tests that call functions need a language with a warm interpreter, got " + language);
    return asserts ? run_asserts(run, code) : run_calls(run, code);
  }

  static Verdict conclude(const Tally& t) {
    if (!t.sandbox_error.empty()) {
      return make_verdict(Kind::kError, 0, "sandbox: " + t.sandbox_error + " (see `fulmen doctor sandbox`)");
    }
    if (!t.test_error.empty()) return make_verdict(Kind::kError, 0, t.test_error);
    if (t.out_of_time) return make_verdict(Kind::kTimeout, 0, fmt::format("{}/{} passed so far", t.passed, t.total));
    FULMEN_CHECK(t.total > 0, "no tests were run");
    const bool all = t.passed == t.total;
    Verdict v = make_verdict(Kind::kScore, all ? 1 : 0, fmt::format("{}/{} passed", t.passed, t.total));
    if (!all) v.detail += "; " + t.first_failure;
    v.components.emplace_back("pass_rate", static_cast<double>(t.passed) / static_cast<double>(t.total));
    v.components.insert(v.components.end(), t.components.begin(), t.components.end());
    return v;
  }

  CodeOptions options_;
  SandboxClient sandbox_;
  std::string name_ = "code", version_;
};

}  // namespace

std::unique_ptr<Function> make_code(const CodeOptions& options) { return std::make_unique<Code>(options); }

}  // namespace fulmen::reward
