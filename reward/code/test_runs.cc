#include "reward/code/test_runs.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <random>

#include "kernels/error.h"
#include "reward/code/call_value.h"

namespace fulmen::reward {
namespace {

using Json = nlohmann::json;

constexpr int kMaxStopped = 2;  // runs stopped at a limit, before the rest is given up

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return "";
  const size_t begin = text.find_last_of("\n", end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1, end - (begin == std::string::npos ? 0 : begin + 1) + 1)
      .substr(0, 160);
}

bool was_stopped(Outcome o) {
  return o == Outcome::kTimeLimit || o == Outcome::kMemoryLimit || o == Outcome::kOutputLimit;
}

std::string make_nonce() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

// Typical names a solution class uses without importing them: contest sites provide them.
// LeetCode's names, and annotations whose import was left out.
bool wants_common_names(const std::string& code) {
  if (code.find("class Solution") != std::string::npos) return true;
  if (code.find("typing") != std::string::npos) return false;
  for (const char* name : {"List[", "Optional[", "Dict[", "Tuple[", "Set[", "Union[", "Any"}) {
    if (code.find(name) != std::string::npos) return true;
  }
  return false;
}

// The tests of a tally one after the other. `one` gives a report and says whether it is a pass.
template <class One>
Tally run_each(const TestRun& run, One one) {
  Tally tally;
  tally.total = run.tests.cases.size();
  int stopped = 0;
  for (size_t i = 0; i < run.tests.cases.size(); i++) {
    if (std::chrono::steady_clock::now() > run.deadline) {
      tally.out_of_time = true;
      return tally;
    }
    std::string failure;
    const SandboxReport report = one(i, failure);
    if (report.outcome == Outcome::kSandboxError) {
      tally.sandbox_error = report.reason;
      return tally;
    }
    if (report.outcome != Outcome::kOk) failure = describe(report);
    if (failure.empty()) {
      tally.passed++;
    } else {
      tally.fail(fmt::format("test {}: {}", i + 1, failure));
    }
    stopped += was_stopped(report.outcome);
    if (stopped >= kMaxStopped && i + 1 < run.tests.cases.size()) {
      tally.first_failure += fmt::format("; {} tests not run after {} stops", tally.total - i - 1, stopped);
      return tally;
    }
  }
  return tally;
}

SandboxProgram make_program(const TestRun& run, const std::string& code, const std::vector<SandboxFile>& compiled) {
  SandboxProgram p;
  p.warm = run.language.warm;
  if (p.warm) {
    p.payload = text_of({{"mode", "script"}, {"sources", {code}}, {"common", wants_common_names(code)}});
  } else if (run.language.compiled) {
    p.files = compiled;
  } else {
    p.files.push_back({run.language.source, code});
  }
  return p;
}

// A custom checker is a function of the data set; it still runs in a jail, for what it reads is a program's output.
bool custom_check(const TestRun& run, const CodeTests::Case& c, const std::string& out, std::string& failure) {
  SandboxRequest request;
  request.language = "python";
  request.limits.cpu_s = 30;
  SandboxProgram p;
  p.warm = true;
  p.payload = text_of({{"mode", "call"},
                       {"sources", {run.tests.checker.source}},
                       {"entry", "check"},
                       {"args", {c.input, c.expected, out}}});
  request.programs.push_back(p);
  const SandboxReport report = run.sandbox.run(request)[0];
  FULMEN_CHECK(report.outcome == Outcome::kOk, "the custom checker failed: " + describe(report));
  if (report.result == "true") return true;
  FULMEN_CHECK(report.result == "false",
               "the custom checker returned " + report.result.substr(0, 40) + ", want True or False");
  failure = "WA by the custom checker";
  return false;
}

}  // namespace

std::string describe(const SandboxReport& r) {
  std::string text = fmt::format("{} {}", outcome_name(r.outcome), r.reason);
  const std::string line = r.outcome == Outcome::kRuntimeError ? last_line(r.err) : "";
  return line.empty() ? text : text + ": " + line;
}

Tally run_input_output(const TestRun& run, const std::string& code) {
  std::vector<SandboxFile> compiled;
  if (run.language.compiled) {
    SandboxRequest request;
    request.language = run.language.name;
    request.compile = true;
    request.programs.push_back({.files = {{run.language.source, code}}});
    SandboxReport report = run.sandbox.run(request)[0];
    Tally tally;
    tally.total = run.tests.cases.size();
    if (report.outcome == Outcome::kSandboxError) {
      tally.sandbox_error = report.reason;
      return tally;
    }
    if (report.outcome != Outcome::kOk || report.fetched.empty()) {
      const size_t error = report.err.find("error:");
      tally.fail("CE " + (error == std::string::npos
                              ? describe(report)
                              : report.err.substr(error, std::min<size_t>(160, report.err.find('\n', error) - error))));
      return tally;
    }
    compiled = std::move(report.fetched);
  }
  const SandboxProgram program = make_program(run, code, compiled);
  return run_each(run, [&](size_t i, std::string& failure) {
    const CodeTests::Case& c = run.tests.cases[i];
    SandboxRequest request;
    request.language = run.language.name;
    request.limits = run.limits;
    request.programs.push_back(program);
    request.programs[0].input = c.input;
    SandboxReport report = run.sandbox.run(request)[0];
    if (report.outcome != Outcome::kOk) return report;
    if (run.tests.checker.kind == Checker::Kind::kCustom) {
      custom_check(run, c, report.out, failure);
    } else if (!outputs_agree(run.tests.checker, c.expected, report.out)) {
      failure = "WA " + first_difference(c.expected, report.out);
    }
    return report;
  });
}

Tally run_calls(const TestRun& run, const std::string& code) {
  std::vector<std::string> expected, returned;
  Tally tally = run_each(run, [&](size_t i, std::string& failure) {
    const CodeTests::Case& c = run.tests.cases[i];
    SandboxRequest request;
    request.language = run.language.name;
    request.limits = run.limits;
    SandboxProgram p;
    p.warm = true;
    p.payload = text_of({{"mode", "call"},
                         {"sources", {code}},
                         {"common", true},
                         {"entry", run.tests.entry},
                         {"args", Json::parse(c.input)},
                         {"in_place", c.expected != "null"}});
    request.programs.push_back(p);
    SandboxReport report = run.sandbox.run(request)[0];
    expected.push_back(c.expected);
    returned.push_back(report.result);
    if (report.outcome == Outcome::kOk && !values_agree(c.expected, report.result)) {
      failure = fmt::format("WA got {}, want {}", report.result.empty() ? "nothing" : report.result.substr(0, 60),
                            c.expected.substr(0, 60));
    }
    return report;
  });
  if (tally.passed < tally.total && returned.size() == tally.total && values_agree_wrapped(expected, returned)) {
    tally.passed = tally.total;
    tally.first_failure.clear();
  }
  return tally;
}

Tally run_asserts(const TestRun& run, const std::string& code) {
  const std::string nonce = make_nonce();
  const CodeTests& t = run.tests;
  Tally tally;
  tally.total = t.asserts.size();
  // A continuation of the prompt, or a whole program that may lack the prompt's imports and helpers.
  Json sources = Json::array();
  if (!t.prompt.empty() && !t.entry.empty()) {
    sources.push_back(t.prompt + code);
    sources.push_back(t.prompt + "\n" + code);
  }
  sources.push_back(code);
  SandboxProgram candidate, tester;
  candidate.warm = tester.warm = true;
  candidate.payload = text_of({{"mode", "candidate"}, {"sources", sources}, {"common", wants_common_names(code)}});
  Json tests{{"mode", "tests"}, {"tests", t.asserts}, {"setup", t.setup}, {"nonce", nonce}};
  if (!t.entry.empty()) {
    tests["entry"] = t.entry;
    tests["prelude"] = t.prompt;
  }
  tester.payload = text_of(tests);
  SandboxRequest request;
  request.language = run.language.name;
  request.limits = run.limits;
  request.programs = {candidate, tester};
  const auto reports = run.sandbox.run(request);
  for (const SandboxReport& r : reports) {
    if (r.outcome == Outcome::kSandboxError) tally.sandbox_error = r.reason;
  }
  if (!tally.sandbox_error.empty()) return tally;
  if (was_stopped(reports[1].outcome)) {
    tally.fail(describe(reports[1]));
    return tally;
  }
  const Json result = Json::parse(reports[1].result, nullptr, false);
  // Only the tests' own process has the nonce; an exit code proves nothing.
  if (!result.is_object() || result.value("nonce", "") != nonce) {
    const std::string why = last_line(reports[1].err);
    if (why.find("SyntaxError") != std::string::npos) tally.test_error = "the tests do not compile: " + why;
    tally.fail("the tests did not end: " + why);
    return tally;
  }
  const Json &passed = result.at("passed"), &messages = result.at("messages"), &asserts = result.at("asserts");
  for (size_t i = 0; i < passed.size(); i++) {
    if (passed[i].get<bool>() && asserts[i].get<int>() == 0) tally.test_error = "a test asserts nothing";
    if (passed[i].get<bool>()) {
      tally.passed++;
    } else {
      const std::string message = messages[i];
      const bool wrong = message.rfind("AssertionError", 0) == 0;
      const std::string source = t.asserts[i].find('\n') == std::string::npos ? t.asserts[i].substr(0, 100) : "";
      tally.fail(
          fmt::format("test {}: {} {}{}{}", i + 1, wrong ? "WA" : "RE", message, source.empty() ? "" : " in ", source));
    }
  }
  if (passed.size() < tally.total) {  // the program ended, or never loaded
    std::string why = messages.empty() ? "" : messages.back().get<std::string>();
    if (reports[0].outcome != Outcome::kOk) why += " " + describe(reports[0]);
    tally.fail("RE " + why);
  }
  return tally;
}

}  // namespace fulmen::reward
