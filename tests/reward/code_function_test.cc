// Programs against tests in the real sandbox, each form with good, wrong, and cheating programs.
#include "reward/code/code_function.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

namespace fulmen::reward {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

const std::string kSandbox = FULMEN_BINARY_DIR "/fulmen-sandbox";

bool sandbox_works() {
  static const bool works = std::system((kSandbox + " doctor >/dev/null 2>&1").c_str()) == 0;
  return works;
}

class CodeReward : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!sandbox_works()) GTEST_SKIP() << "no isolation on this machine; `fulmen doctor sandbox` says why";
  }

  Verdict score(const std::string& code, const Json& fields, const std::string& prompt = "") {
    Record r;
    r.response = code;
    r.prompt = prompt;
    r.extra_info = fields.dump();
    r.deadline_ms = deadline_ms_;
    return function_->score(r);
  }
  void expect(double want, const std::string& code, const Json& fields, const std::string& prompt = "") {
    const Verdict v = score(code, fields, prompt);
    EXPECT_EQ(v.kind, Kind::kScore) << v.detail << "\n" << code;
    EXPECT_EQ(v.score, want) << v.detail << "\n" << code;
  }

  static CodeOptions options() {
    CodeOptions o;
    o.sandbox = kSandbox;
    o.cpu_s = 1;
    return o;
  }
  std::unique_ptr<Function> function_ = make_code(options());
  int deadline_ms_ = 0;
};

const Json kSum{{"tests", {{{"input", "1 2\n"}, {"output", "3\n"}}, {{"input", "5 6\n"}, {"output", "11\n"}}}}};
const Json kCall{{"fn_name", "double"}, {"inputs", {{2}, {5}}}, {"outputs", {4, 10}}};
const Json kAsserts{{"test_list", {"assert double(2) == 4", "assert double([1]) == [1, 1]"}}};
const std::string kPrompt = "def helper(x):\n    return x + x\n\ndef double(x):\n    \"\"\"Twice x.\"\"\"\n";
const Json kCheck{
    {"test", "def check(candidate):\n    assert candidate(2) == helper(2)\n    assert candidate(3) == 6\n"},
    {"entry_point", "double"}};

TEST_F(CodeReward, StdinPrograms) {
  expect(1, "Here:\n```python\na, b = map(int, input().split())\nprint(a + b)\n```", kSum);
  expect(0, "print(3)", kSum);
  EXPECT_EQ(score("print(3)", kSum).components[0], std::make_pair(std::string("pass_rate"), 0.5));
  EXPECT_THAT(score("print(3)", kSum).detail, HasSubstr("1/2 passed; test 2: WA word 1: got \"3\", want \"11\""));
  EXPECT_THAT(score("print(x)", kSum).detail, HasSubstr("RE exit code 1: NameError"));
  EXPECT_THAT(score("while True: pass", kSum).detail, HasSubstr("TLE"));
  EXPECT_THAT(score("if", kSum).detail, HasSubstr("SyntaxError"));
  expect(1, "import sys\na, b = map(int, sys.stdin.read().split())\nprint(a + b)\nsys.exit()", kSum);
  expect(0, "a, b = map(int, input().split())\nprint(a + b)\nexit(1)", kSum);
}

TEST_F(CodeReward, CompiledAndShellPrograms) {
  Json cpp = kSum, sh = kSum;
  cpp["language"] = "c++";
  sh["language"] = "bash";
  expect(1, "```cpp\n#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }\n```", cpp);
  EXPECT_THAT(score("int main() { return x; }", cpp).detail, HasSubstr("CE error:"));
  EXPECT_THAT(score("#include <cstdlib>\nint main() { abort(); }", cpp).detail, HasSubstr("signal 6"));
  expect(1, "read a b\necho $((a + b))", sh);
}

TEST_F(CodeReward, CalledFunctions) {
  expect(1, "def double(x): return 2 * x", kCall);
  expect(1, "class Solution:\n  def double(self, x: Optional[int]) -> int: return 2 * x", kCall);
  expect(0, "def double(x): return 4", kCall);
  expect(0, "def double(x): return str(2 * x)", kCall);
  expect(0, "def triple(x): return 2 * x", kCall);
  expect(0, "def double(x):\n  print('[4]'); raise SystemExit(0)", kCall);
  const Json wrapped{{"fn_name", "f"}, {"inputs", {{1}, {2}}}, {"outputs", {{1}, {2}}}};
  expect(1, "def f(x): return x", wrapped);
  expect(1, "def f(x): return [x]", wrapped);
  expect(0, "def f(x): return [x] if x == 1 else x", wrapped);
  expect(1, "def rotate(l): l.append(l.pop(0))",
         {{"fn_name", "rotate"}, {"inputs", {{{1, 2, 3}}}}, {"outputs", {{2, 3, 1}}}});
}

TEST_F(CodeReward, AssertsOfThePythonSets) {
  expect(1, "def double(x): return x + x", kAsserts);
  expect(0, "def double(x): return 4", kAsserts);
  expect(1, "    return x * 2\n", kCheck, kPrompt);
  expect(1, "```python\ndef double(x):\n    return helper(x)\n```", kCheck, kPrompt);
  expect(0, "    return x + 1\n", kCheck, kPrompt);
  expect(0, "def helper(x):\n    return 1\ndef double(x):\n    return 1\n", kCheck, kPrompt);
}

TEST_F(CodeReward, TestsMayUseClassesCallbacksModulesAndExceptions) {
  expect(1,
         "class Node:\n  def __init__(self, v): self.v = v; self.next = None\ndef total(n):\n  s = 0\n  while n: s += "
         "n.v; n = n.next\n  return s",
         {{"test_setup_code", "a = Node(1)\na.next = Node(2)"},
          {"test_list", {"assert total(a) == 3", "assert total(a.next) == 2"}}});
  expect(1, "def apply(f, x): return f(f(x))",
         {{"test_list", {"assert apply(lambda v: v * 3, 2) == 18", "assert apply(abs, -2) == 2"}}});
  expect(0, "def apply(f, x): return f(x)", {{"test_list", {"assert apply(lambda v: v * 3, 2) == 18"}}});
  expect(1, "import math\ndef area(r): return math.pi * r * r",
         {{"test_list", {"assert math.isclose(area(1), 3.14159265, rel_tol=1e-6)"}}});
  expect(1, "def check_age(a):\n  if a < 0: raise ValueError('negative')\n  return a",
         {{"test_list", {"try:\n  check_age(-1)\n  assert False\nexcept ValueError as e:\n  assert 'neg' in str(e)"}}});
  expect(1, "def sort_in_place(l): l.sort()",
         {{"test_list", {"l = [3, 1, 2]\nsort_in_place(l)\nassert l == [1, 2, 3]"}}});
  expect(1, "def gen(n):\n  for i in range(n): yield i", {{"test_list", {"assert list(gen(3)) == [0, 1, 2]"}}});
  expect(1, "def sum(a, b): return a + b", {{"test_list", {"assert sum(1, 2) == 3"}}});
  expect(1, "from collections import Counter\ndef c(s): return Counter(s)",
         {{"test_list", {"assert c('aab') == {'a': 2, 'b': 1}"}}});
  expect(1, "def big(n): return 7 ** n", {{"test_list", {"assert big(9000) == 7 ** 9000"}}});
}

TEST_F(CodeReward, CheatsDoNotPass) {
  const std::vector<std::string> cheats{
      "import sys; sys.exit(0)",
      "import os; os._exit(0)",
      "raise SystemExit(0)",
      "class A:\n  def __eq__(self, o): return True\n  def __ne__(self, o): return False\n  def __hash__(self): return "
      "0\n"
      "def double(x): return A()",
      "class A(int):\n  def __eq__(self, o): return True\ndef double(x): return A(1)",
      "import builtins\nbuiltins.all = builtins.any = lambda *a: True\ndef double(x): return 0",
      "print('ALL TESTS PASSED'); print('nonce')\ndef double(x): return None",
      "import os\ndef double(x):\n  for fd in range(3, 64):\n    try: os.write(fd, b'{\"passed\":[true,true]}')\n    "
      "except OSError: pass\n  os._exit(0)",
      "import gc\ndef double(x):\n  for o in gc.get_objects():\n    if isinstance(o, dict) and 'nonce' in o: return "
      "o['nonce']\n",
      "import sys\ndef double(x):\n  f = sys._getframe()\n  while f:\n    for v in list(f.f_locals.values()) + "
      "list(f.f_globals.values()):\n"
      "      if isinstance(v, dict) and 'tests' in v: return 4\n    f = f.f_back\n",
      "class R:\n  def __repr__(s): return 'a' * (1 << 31)\ndef double(x): return R()",
      "def double(x):\n  while True: yield 4",
      "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef double(x): return None",
      "import sys\nsys.modules['json'] = None\ndef double(x): return 1",
      "import atexit\natexit.register(print, 4)\ndef double(x): return 3",
      "import threading, os, time\nthreading.Thread(target=lambda: (time.sleep(.05), os._exit(0))).start()\ndef "
      "double(x): time.sleep(1)",
      "def double(x): raise AssertionError('no')",
      "def len(x): return 0\ndef double(x): return 0",
  };
  CodeOptions quick = options();
  quick.cpu_s = 0.3;
  function_ = make_code(quick);
  for (const std::string& code : cheats) {
    expect(0, code, kAsserts);
    expect(0, code, kCall);
  }
  for (size_t i = 0; i < 3; i++) {
    expect(0, cheats[i], kCheck, kPrompt);
    expect(0, cheats[i], kSum);
  }
}

TEST_F(CodeReward, ObjectsDoNotDecideComparisonsWithPlainValues) {
  const std::vector<std::pair<std::string, std::string>> cheats{
      {"class A:\n  def __sub__(s, o): return 0\n  __add__ = __mul__ = __sub__\ndef f(x): return A()",
       "assert abs(f(2) - 4) < 1e-6"},
      {"class A:\n  def __sub__(s, o): return 0\ndef f(x): return A()", "assert round(f(2) - 4, 3) == 0"},
      {"class A:\n  def __lt__(s, o): return True\n  __gt__ = __lt__\ndef f(x): return A()", "assert f(2) < 5"},
      {"class A:\n  def __contains__(s, o): return True\ndef f(x): return A()", "assert 4 in f(2)"},
      {"class A:\n  def __contains__(s, o): return True\n  def __iter__(s): return iter([1])\ndef f(x): return A()",
       "assert 4 in f(2)"},
      {"def f(x): raise StopIteration", "assert all(map(lambda c: f(c[0]) == c[1], [(2, 4), (3, 6)]))"},
      {"class math:\n  def isclose(*a, **k): return True\ndef f(x): return 1", "assert math.isclose(f(2), 4)"},
      {"def isclose(*a, **k): return True\ndef f(x): return 1", "assert isclose(f(2), 4)"},
      {"def Counter(x): return 0\ndef f(x): return 1", "assert Counter(f(2)) == Counter([1, 2])"},
      {"class re:\n  def match(*a): return True\ndef f(x): return ''", "assert re.match('a+', f(2))"},
  };
  for (const auto& [code, test] : cheats) expect(0, code, {{"test_list", {test}}});
  // What a class is for still works.
  expect(
      1,
      "class V:\n  def __init__(s, x): s.x = x\n  def __add__(s, o): return V(s.x + o.x)\n  def __mul__(s, k): return "
      "V(s.x * k)\n  def __lt__(s, o): return s.x < o.x\n  def __iter__(s): return iter([s.x])",
      {{"test_list",
        {"assert (V(1) + V(2)).x == 3", "assert (V(2) * 4).x == 8", "assert V(1) < V(2)",
         "assert 5 in V(5) and 6 not in V(5)"}}});
  expect(1, "from collections import Counter\ndef f(x): return list(x)",
         {{"test_list", {"assert Counter(f('aa')) == Counter('aa')"}}});
  expect(1, "def gcd(a, b):\n  while b: a, b = b, a % b\n  return a", {{"test_list", {"assert gcd(4, 6) == 2"}}});
  expect(0, "def gcd(a, b): return 1", {{"test_list", {"assert gcd(4, 6) == 2"}}});
}

TEST_F(CodeReward, FunctionsOfASolutionClass) {
  const std::string code = "class Solution:\n  def add(self, a: int, b: int) -> int:\n    return a + b\n";
  const std::string fenced = "```python\n" + code + "```\nIt is used so:\n```python\nprint(Solution().add(1, 2))\n```";
  for (const char* entry : {"add", "Solution.add", "Solution().add"}) {
    const Json call{{"fn_name", entry}, {"inputs", {{1, 2}, {3, 4}}}, {"outputs", {3, 7}}};
    expect(1, entry == std::string("add") ? code : fenced, call);
    const Json named{{"entry_point", entry}, {"tests", {{{"input", {{"b", 2}, {"a", 1}}}, {"output", 3}}}}};
    expect(1, code, named);
  }
  const Json imported{{"test",
                       "from solution import add\nimport solution\n\ndef test_add():\n    assert add(1, 2) == 3\n    "
                       "assert solution.add(1, 1) == 2\n    assert not hasattr(solution, 'absent')\n"}};
  expect(1, "def add(a, b): return a + b", imported);
  expect(0, "def add(a, b): return a - b", imported);
  const Json check{{"test", "def check(candidate):\n    assert candidate(a = 1, b = 2) == 3\n"},
                   {"entry_point", "Solution().add"}};
  expect(1, fenced, check, "from typing import *\n");
  expect(0, "class Solution:\n  def add(self, a, b): return a - b\n", check, "from typing import *\n");
  expect(1, "def first(d): return d['a']", {{"fn_name", "first"}, {"inputs", {{{{"a", 5}}}}}, {"outputs", {5}}});
}

TEST_F(CodeReward, TestsThatAssertNothingAreAnError) {
  EXPECT_EQ(score("x = 1", {{"test_list", {"y = 2"}}}).kind, Kind::kError);
  EXPECT_EQ(score("x = 1", {{"tests", Json::array()}}).kind, Kind::kError);
  EXPECT_EQ(
      score("def f(): pass", {{"test", "def check(c):\n    for i in []: assert c()\n"}, {"entry_point", "f"}}).kind,
      Kind::kError);
  EXPECT_EQ(score("x = 1", {{"test_list", {"assert ("}}}).kind, Kind::kError);
}

TEST_F(CodeReward, CheckersOfTheDataSet) {
  const std::string third = "print(1 / 3)";
  Json t{{"tests", {{{"input", ""}, {"output", "0.333"}}}}};
  expect(0, third, t);
  t["checker"] = {{"kind", "float"}, {"tolerance", 1e-2}};
  expect(1, third, t);
  t["checker"] = {{"kind", "custom"},
                  {"source", "def check(input, expected, output): return abs(float(output) - 1 / 3) < 1e-9"}};
  expect(1, third, t);
  expect(0, "print(0.3)", t);
  t["checker"]["source"] = "def check(input, expected, output): return 1 / 0";
  EXPECT_EQ(score(third, t).kind, Kind::kError);
}

TEST_F(CodeReward, TheSandboxsFaultIsNeverAWrongAnswer) {
  CodeOptions broken = options();
  broken.sandbox = "/bin/false";
  function_ = make_code(broken);
  EXPECT_EQ(score("print(1)", kSum).kind, Kind::kError);
}

TEST_F(CodeReward, ADeadlineIsATimeoutAndNoProgramIsUnparsable) {
  EXPECT_EQ(score(" \n", kSum).kind, Kind::kUnparsable);
  deadline_ms_ = 1;
  EXPECT_EQ(score("import time\ntime.sleep(.1)\nprint(3)", kSum).kind, Kind::kTimeout);
}

TEST_F(CodeReward, AnUnknownLanguageNamesTheKnown) {
  Json t = kSum;
  t["language"] = "cobol";
  EXPECT_THAT(score("x", t).detail, HasSubstr("want one of c, cpp, python, shell"));
}

TEST_F(CodeReward, ARepositoryIsScoredByItsTests) {
  const std::string root = FULMEN_SOURCE_DIR "/tests/reward/repositories/";
  const auto read = [&](const std::string& file) {
    std::ifstream in(root + file);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const Json python{
      {"repository", root + "ledger"},
      {"fail_to_pass",
       {"tests/test_ledger.py::TestLedger::test_balance_of_nothing", "tests.test_ledger.TestLedger.test_refunds"}},
      {"pass_to_pass", {"tests/test_ledger.py::TestLedger::test_one_entry", "tests/test_ledger.py::test_names"}}};
  expect(1, "I fixed it.\n```diff\n" + read("ledger.good.diff") + "```", python);
  const Verdict half = score(read("ledger.breaks_names.diff"), python);
  EXPECT_EQ(half.score, 0) << half.detail;
  EXPECT_EQ(half.components[1], std::make_pair(std::string("fail_to_pass"), 1.0)) << half.detail;
  EXPECT_EQ(half.components[2], std::make_pair(std::string("pass_to_pass"), 0.5)) << half.detail;
  EXPECT_THAT(half.detail, HasSubstr("pass_to_pass tests/test_ledger.py::test_names"));
  expect(0, read("ledger.cheats.diff"), python);  // rewrites the tests, and ends the process with code 0
  EXPECT_THAT(score("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-no\n+such\n", python).detail, HasSubstr("does not apply"));

  const Json c{{"repository", root + "wordcount"},
               {"fail_to_pass", {"tabs", "empty"}},
               {"pass_to_pass", {"plain"}},
               {"test_command", {"/bin/sh", "tests/run.sh", "{test}"}}};
  expect(1, "```diff\n" + read("wordcount.good.diff") + "```", c);
  expect(0, read("wordcount.wrong.diff"), c);
}

}  // namespace
}  // namespace fulmen::reward
