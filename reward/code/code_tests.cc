#include "reward/code/code_tests.h"

#include <fmt/format.h>

#include <cctype>
#include <initializer_list>

#include "kernels/error.h"
#include "reward/code/extract_code.h"
#include "reward/code/nested_json.h"

namespace fulmen::reward {
namespace {

using Json = nlohmann::json;

bool is_container(const Json& j) { return j.is_object() || j.is_array(); }

std::string dump(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

// A field of the record, or of its ground truth; a container that is written as a text is read.
class Fields {
 public:
  explicit Fields(const Record& r) : extra_(try_parse(r.extra_info)), truth_(try_parse(r.ground_truth)) {
    if (!extra_.is_object()) extra_ = Json::object();
    if (!is_container(truth_) && !r.ground_truth.empty()) truth_ = r.ground_truth;
  }

  Json find(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      for (const Json* place : {&extra_, &truth_}) {
        if (!place->is_object()) continue;
        auto it = place->find(name);
        if (it == place->end() || it->is_null()) continue;
        return unwrapped(*it);
      }
    }
    return nullptr;
  }

  std::string text(std::initializer_list<const char*> names) const {
    const Json j = find(names);
    return j.is_string() ? j.get<std::string>() : "";
  }

  double number(std::initializer_list<const char*> names) const {
    const Json j = find(names);
    if (j.is_null()) return 0;
    FULMEN_CHECK(j.is_number() && j.get<double>() > 0 && j.get<double>() < 1e6,
                 fmt::format("{}: got {}, want a positive number", *names.begin(), dump(j).substr(0, 40)));
    return j.get<double>();
  }

  const Json& truth() const { return truth_; }

  static Json unwrapped(const Json& j) {
    if (!j.is_string()) return j;
    const Json inner = try_parse(j.get_ref<const std::string&>());
    return is_container(inner) ? inner : j;
  }

 private:
  Json extra_, truth_;
};

// A list of lines is a text too.
std::string as_text(const Json& j) {
  if (j.is_string()) return j.get<std::string>();
  if (!j.is_array()) return dump(j);
  std::string text;
  for (const Json& line : j) text += as_text(line) + "\n";
  return text;
}

// LiveCodeBench: one JSON value a line. False when a line is none.
bool read_argument_lines(const std::string& text, Json& arguments) {
  arguments = Json::array();
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json value = try_parse(line);
    if (value.is_discarded()) return false;
    arguments.push_back(std::move(value));
  }
  return !arguments.empty();
}

CodeTests::Case read_call(const Json& input, const Json& output) {
  Json arguments, expected = output;
  if (input.is_array()) {
    arguments = input;
  } else if (input.is_string() && read_argument_lines(input.get<std::string>(), arguments)) {
    if (output.is_string()) {
      Json value = try_parse(output.get<std::string>());
      if (!value.is_discarded()) expected = value;
    }
  } else {
    arguments = Json::array({input});
  }
  return {dump(arguments), dump(expected)};
}

void add_case(CodeTests& t, const Json& input, const Json& output) {
  FULMEN_CHECK(t.cases.size() < kMaxCases, fmt::format("tests: more than {}", kMaxCases));
  t.cases.push_back(t.form == CodeTests::Form::kCall ? read_call(input, output)
                                                     : CodeTests::Case{as_text(input), as_text(output)});
}

Json member(const Json& j, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    auto it = j.find(name);
    if (it != j.end()) return *it;
  }
  return Json(Json::value_t::discarded);
}

void read_pairs(CodeTests& t, const Json& inputs, const Json& outputs) {
  FULMEN_CHECK(
      inputs.is_array() && outputs.is_array() && inputs.size() == outputs.size(),
      fmt::format("tests: got {} inputs and {} outputs, want two lists of one length", inputs.size(), outputs.size()));
  for (size_t i = 0; i < inputs.size(); i++) add_case(t, inputs[i], outputs[i]);
}

void read_asserts(CodeTests& t, const Json& list) {
  t.form = CodeTests::Form::kAsserts;
  for (const Json& a : list) {
    FULMEN_CHECK(a.is_string(), fmt::format("tests: an assert is a {}, want a text", a.type_name()));
    const std::string source = a.get<std::string>();
    if (source.find_first_not_of(" \t\r\n") != std::string::npos) t.asserts.push_back(source);
  }
}

constexpr std::initializer_list<const char*> kEntryNames{"fn_name",  "entry_point",   "func_name",
                                                         "function", "function_name", "entry"};
constexpr std::initializer_list<const char*> kAssertNames{"asserts", "assert_case", "assertions", "test_list"};

// CodeContests, LiveCodeBench: several sets, all of which count.
constexpr const char* kTestSets[] = {"public_tests", "private_tests", "generated_tests", "public_test_cases",
                                     "private_test_cases"};

void read_entry(CodeTests& t, const Json& from) {
  const Json name = member(from, kEntryNames);
  if (!name.is_string()) return;
  t.entry = name.get<std::string>();
  t.form = CodeTests::Form::kCall;
}

void read_list(CodeTests& t, const Json& list) {
  if (!list.empty() && list[0].is_string()) return read_asserts(t, list);
  if (!list.empty() && list[0].is_object() && member(list[0], {"testtype"}) == "functional" && t.entry.empty())
    throw Error("tests: testtype functional, and no name of the function (fn_name, or metadata.func_name)");
  for (const Json& item : list) {
    if (item.is_array() && item.size() == 2) {
      add_case(t, item[0], item[1]);
      continue;
    }
    FULMEN_CHECK(item.is_object(), fmt::format("tests: an item is a {}, want an object", item.type_name()));
    if (t.cases.empty()) read_entry(t, item);
    const Json input = member(item, {"input", "stdin", "inputs", "args", "arguments"});
    const Json output = member(
        item, {"output", "expected_output", "stdout", "outputs", "expected", "expected_stdout", "result", "return"});
    FULMEN_CHECK(!input.is_discarded() && !output.is_discarded(),
                 "tests: an item lacks input or output: " + dump(item).substr(0, 120));
    add_case(t, input, output);
  }
}

// depth: an object may hold its tests one or two levels down.
void read_tests(CodeTests& t, const Json& tests, int depth = 0) {
  FULMEN_CHECK(depth < 4, "tests: nested too deep");
  if (tests.is_string()) return read_asserts(t, Json::array({tests}));
  if (tests.is_array()) return read_list(t, tests);
  FULMEN_CHECK(tests.is_object(), fmt::format("tests: got a {}, want a list or an object", tests.type_name()));
  read_entry(t, tests);
  if (const Json code = member(tests, {"functional", "test"}); code.is_string()) {
    return read_asserts(t, Json::array({code}));
  }
  if (const Json list = member(tests, kAssertNames); list.is_array()) return read_asserts(t, list);
  if (const Json nested = member(tests, {"cases", "tests", "test_cases", "call", "stdio", "stdin_stdout"});
      is_container(nested)) {
    return read_tests(t, nested, depth + 1);
  }
  const Json inputs = member(tests, {"inputs", "input", "stdin", "args"});
  const Json outputs = member(tests, {"outputs", "output", "stdout", "expected"});
  FULMEN_CHECK(!inputs.is_discarded() && !outputs.is_discarded(),
               "tests: an object without inputs and outputs: " + dump(tests).substr(0, 120));
  if (!inputs.is_array() && !outputs.is_array()) return add_case(t, inputs, outputs);
  read_pairs(t, inputs, outputs);
}

std::vector<std::string> names_of(const Json& list, const char* what) {
  std::vector<std::string> names;
  if (list.is_null()) return names;
  FULMEN_CHECK(list.is_array(), std::string(what) + ": want a list of names");
  for (const Json& n : list) {
    FULMEN_CHECK(n.is_string(), std::string(what) + ": want a list of names");
    names.push_back(n.get<std::string>());
  }
  return names;
}

void read_repository(CodeTests& t, const Fields& f) {
  t.form = CodeTests::Form::kRepository;
  t.repository.directory = f.text({"repository", "repo_dir"});
  FULMEN_CHECK(!t.repository.directory.empty(), "repository: want the directory of a prepared source tree");
  t.repository.fail_to_pass = names_of(f.find({"fail_to_pass", "FAIL_TO_PASS"}), "fail_to_pass");
  t.repository.pass_to_pass = names_of(f.find({"pass_to_pass", "PASS_TO_PASS"}), "pass_to_pass");
  t.repository.command = names_of(f.find({"test_command"}), "test_command");
  t.repository.protect = names_of(f.find({"protect"}), "protect");
  FULMEN_CHECK(!t.repository.fail_to_pass.empty() || !t.repository.pass_to_pass.empty(),
               "repository: no tests in fail_to_pass and pass_to_pass");
}

void read_checker(CodeTests& t, const Json& j) {
  if (j.is_null()) return;
  const std::string kind = j.is_string() ? j.get<std::string>() : j.is_object() ? j.value("kind", "custom") : "";
  using Kind = Checker::Kind;
  if (kind == "auto") {
    t.checker.kind = Kind::kAuto;
  } else if (kind == "exact") {
    t.checker.kind = Kind::kExact;
  } else if (kind == "tokens") {
    t.checker.kind = Kind::kTokens;
  } else if (kind == "float") {
    t.checker.kind = Kind::kFloat;
  } else if (kind == "custom" && j.is_object() && j.contains("source") && j["source"].is_string()) {
    t.checker.kind = Kind::kCustom;
    t.checker.source = j["source"].get<std::string>();
  } else {
    throw Error("checker: got " + dump(j).substr(0, 80) + ", want auto, exact, tokens, float or custom with a source");
  }
  if (j.is_object() && j.contains("tolerance")) {
    FULMEN_CHECK(j["tolerance"].is_number() && j["tolerance"] >= 0, "checker: tolerance is not a number of 0 or more");
    t.checker.tolerance = j["tolerance"].get<double>();
  }
}

// Where the record says what to run. False: nowhere.
bool read_form(CodeTests& t, const Fields& f, const Record& record) {
  if (!f.find({"fail_to_pass", "FAIL_TO_PASS", "pass_to_pass", "PASS_TO_PASS"}).is_null()) {
    read_repository(t, f);
    return true;
  }
  Json metadata = f.find({"metadata"});
  t.entry = f.text(kEntryNames);
  if (t.entry.empty() && metadata.is_object()) t.entry = metadata.value("func_name", "");
  if (const Json list = f.find(kAssertNames); !list.is_null()) {
    read_asserts(t, list.is_array() ? list : Json::array({list}));
    if (!t.entry.empty()) t.prompt = record.prompt;
    return true;
  }
  if (const Json code = f.find({"test"}); code.is_string()) {
    read_asserts(t, Json::array({code}));
    t.prompt = record.prompt;
    return true;
  }
  if (!t.entry.empty()) t.form = CodeTests::Form::kCall;
  const Json tests = f.find({"tests", "test_cases", "input_output", "unit_tests", "test"});
  if (!tests.is_null()) {
    read_tests(t, tests);
    if (t.form == CodeTests::Form::kAsserts) t.prompt = record.prompt;
    return true;
  }
  for (const char* name : kTestSets) {
    if (const Json set = f.find({name}); is_container(set) && !set.empty()) read_tests(t, set);
  }
  if (!t.cases.empty() || !t.asserts.empty()) return true;
  const Json inputs = f.find({"inputs", "input"}), outputs = f.find({"outputs", "output"});
  if (!inputs.is_null() && !outputs.is_null()) {
    read_tests(t, Json{{"inputs", inputs}, {"outputs", outputs}});
    return true;
  }
  const Json& truth = f.truth();
  if (truth.is_array() || (truth.is_string() && truth.get<std::string>().find("assert") != std::string::npos)) {
    read_tests(t, truth);
    return true;
  }
  return false;
}

}  // namespace

CodeTests read_code_tests(const Record& record) {
  CodeTests t;
  try {
    const Fields f(record);
    const bool found = read_form(t, f, record);
    t.setup = f.text({"test_setup_code"});
    if (const Json imports = f.find({"test_imports"}); imports.is_array()) t.setup = as_text(imports) + t.setup;
    t.language = language_name(f.text({"language", "lang"}));
    t.cpu_s = f.number({"cpu_s", "time_limit_s", "time_limit"});
    t.memory_mb = f.number({"memory_mb", "memory_limit_mb"});
    read_checker(t, f.find({"checker"}));
    FULMEN_CHECK(
        found && (t.form == CodeTests::Form::kRepository || !t.cases.empty() || !t.asserts.empty()),
        "no tests in the record: want tests, test_list, test + entry_point, inputs + outputs, or fail_to_pass");
  } catch (const Json::exception& e) {
    throw Error(std::string("tests: ") + e.what());
  }
  return t;
}

}  // namespace fulmen::reward
