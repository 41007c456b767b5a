// The parts that need no sandbox: the program in a response, tests in a record, outputs and values compared.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "kernels/error.h"
#include "reward/code/call_value.h"
#include "reward/code/checker.h"
#include "reward/code/code_tests.h"
#include "reward/code/extract_code.h"
#include "reward/code/repository.h"

namespace fulmen::reward {
namespace {

using ::testing::HasSubstr;
using Form = CodeTests::Form;

TEST(ExtractCode, TakesTheLastBlockOfTheLanguage) {
  EXPECT_EQ(extract_code("a\n```python\nx = 1\n```\nb\n```python\nx = 2\n```\nc", "python"), "x = 2\n");
  EXPECT_EQ(extract_code("```py\nx\n```\n```cpp\nint y;\n```", "python"), "x\n");
  EXPECT_EQ(extract_code("```py\nx\n```\n```c++\nint y;\n```", "cpp"), "int y;\n");
  EXPECT_EQ(extract_code("```\nplain\n```\n```text\nout\n```", "python"), "plain\n");
  EXPECT_EQ(extract_code("```text\nonly\n```", "python"), "only\n");
}

TEST(ExtractCode, TheWholeTextWithoutAFence) {
  EXPECT_EQ(extract_code("    return x\n", "python"), "    return x\n");
  EXPECT_EQ(extract_code(" \n\t", "python"), "");
  EXPECT_EQ(extract_code("```python\n\n```", "python"), "");
}

TEST(ExtractCode, ABlockThatDefinesTheFunctionComesBeforeALaterOneThatUsesIt) {
  const std::string two = "```python\ndef f(x):\n  return x\n```\nUse it:\n```python\nprint(f(1))\n```\n";
  EXPECT_EQ(extract_code(two, "python", "f"), "def f(x):\n  return x\n");
  EXPECT_EQ(extract_code(two, "python"), "print(f(1))\n");
  EXPECT_EQ(extract_code(two + "```python\ndef f(x):\n  return 2\n```", "python", "f"), "def f(x):\n  return 2\n");
  EXPECT_EQ(extract_code(two, "python", "g"), "print(f(1))\n");
  EXPECT_EQ(
      extract_code("```python\nclass Solution:\n  pass\n```\n```python\nSolution()\n```", "python", "Solution().f"),
      "class Solution:\n  pass\n");
  EXPECT_EQ(extract_code("```\nf = abs\n```\n```\n3\n```", "python", "f"), "f = abs\n");
  EXPECT_EQ(extract_code("I say <answer>\nx = 1\n</answer>", "python"), "\nx = 1\n");
}

TEST(ExtractCode, FencesMayBeIndentedOrOfTildes) {
  EXPECT_EQ(extract_code("1. So:\n   ```python\n   if x:\n     y()\n\n   z\n   ```\n", "python"),
            "if x:\n  y()\n\nz\n");
  EXPECT_EQ(extract_code("~~~python\ns = '```'\n~~~", "python"), "s = '```'\n");
  EXPECT_EQ(extract_code("```python\n~~~\n```", "python"), "~~~\n");
}

TEST(ExtractCode, KeepsIndentationAndInnerFences) {
  EXPECT_EQ(extract_code("```python\n    return 1\n```", "python"), "    return 1\n");
  EXPECT_EQ(extract_code("````python\ns = '''\n```\n'''\n````", "python"), "s = '''\n```\n'''\n");
  EXPECT_EQ(extract_code("```python\nopen end", "python"), "open end");
  EXPECT_EQ(extract_code("use `x` and ```y``` here", "python"), "use `x` and ```y``` here");
}

TEST(ExtractCode, PatchesAreTaggedDiff) {
  EXPECT_EQ(extract_patch("```python\nx\n```\n```diff\n--- a\n+++ b\n```\n```python\ny\n```"), "--- a\n+++ b\n");
}

CodeTests read(const std::string& extra, const std::string& truth = "", const std::string& prompt = "") {
  Record r;
  r.extra_info = extra;
  r.ground_truth = truth;
  r.prompt = prompt;
  return read_code_tests(r);
}

std::string error_of(const std::string& extra, const std::string& truth = "") {
  try {
    read(extra, truth);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(CodeTests, StdinForms) {
  for (const char* extra :
       {R"({"tests":[{"input":"1\n","output":"2\n"}]})", R"({"tests":{"inputs":["1\n"],"outputs":["2\n"]}})",
        R"({"tests":"[{\"input\":\"1\\n\",\"output\":\"2\\n\"}]"})", R"({"inputs":["1\n"],"outputs":["2\n"]})",
        R"({"input_output":{"inputs":["1\n"],"outputs":["2\n"]}})",
        R"({"test_cases":[{"stdin":"1\n","expected_output":"2\n"}]})", R"({"tests":[{"input":["1"],"output":["2"]}]})",
        R"({"tests":[["1\n","2\n"]]})",
        R"({"public_tests":{"input":["1\n"],"output":["2\n"]},"private_tests":{"input":[],"output":[]}})",
        R"({"public_test_cases":"[{\"input\":\"1\\n\",\"output\":\"2\\n\",\"testtype\":\"stdin\"}]"})"}) {
    const CodeTests t = read(extra);
    EXPECT_EQ(t.form, Form::kInputOutput) << extra;
    ASSERT_EQ(t.cases.size(), 1u) << extra;
    EXPECT_EQ(t.cases[0].input, "1\n") << extra;
    EXPECT_EQ(t.cases[0].expected, "2\n") << extra;
  }
  EXPECT_EQ(read("{}", R"({"inputs":["1"],"outputs":["2"]})").cases.size(), 1u);
  EXPECT_EQ(read("{}", R"([{"input":"1","output":"2"}])").cases.size(), 1u);
  EXPECT_EQ(
      read(R"({"public_tests":{"input":["1"],"output":["2"]},"private_tests":{"input":["1","2"],"output":["2","3"]},
                     "generated_tests":{"input":["9"],"output":["9"]}})")
          .cases.size(),
      4u);
}

TEST(CodeTests, CallForms) {
  for (const char* extra :
       {R"({"fn_name":"f","inputs":[[[1,2],3]],"outputs":[5]})",
        R"({"tests":{"fn_name":"f","inputs":[[[1,2],3]],"outputs":[5]}})",
        R"({"entry_point":"f","tests":[{"input":[[1,2],3],"output":5}]})",
        R"({"tests":{"type":"call","entry_point":"f","cases":[{"args":[[1,2],3],"expected":5}]}})",
        R"({"tests":[{"fn_name":"f","input":[[1,2],3],"output":5}]})",
        R"({"metadata":{"func_name":"f"},"tests":[{"input":"[1,2]\n3","output":"5","testtype":"functional"}]})",
        R"({"metadata":"{\"func_name\":\"f\"}","tests":[{"input":"[1,2]\n3","output":"5"}]})"}) {
    const CodeTests t = read(extra);
    EXPECT_EQ(t.form, Form::kCall) << extra;
    EXPECT_EQ(t.entry, "f") << extra;
    ASSERT_EQ(t.cases.size(), 1u) << extra;
    EXPECT_EQ(t.cases[0].input, "[[1,2],3]") << extra;
    EXPECT_EQ(t.cases[0].expected, "5") << extra;
  }
}

TEST(CodeTests, AssertForms) {
  EXPECT_EQ(read(R"({"test_list":["assert f(1)==2","assert f(2)==3"],"test_setup_code":"import math"})").asserts.size(),
            2u);
  EXPECT_EQ(read(R"({"tests":["assert f(1)==2"]})").form, Form::kAsserts);
  EXPECT_EQ(read(R"({"tests":{"functional":"assert f(1)==2"}})").form, Form::kAsserts);
  EXPECT_EQ(read("{}", "assert f(1) == 2").asserts.size(), 1u);
  const CodeTests t = read(R"json({"test":"def check(c):\n  assert c(1)","entry_point":"f"})json", "", "def f():\n");
  EXPECT_EQ(t.form, Form::kAsserts);
  EXPECT_EQ(t.entry, "f");
  EXPECT_EQ(t.prompt, "def f():\n");
}

TEST(CodeTests, NoTestsIsAnErrorAndNeverAPass) {
  for (const char* extra :
       {"{}", R"({"tests":[]})", R"({"test_list":[]})", R"({"tests":{"inputs":[],"outputs":[]}})", R"({"tests":null})",
        R"({"test_list":["  "]})", R"({"tests":""})", R"({"repository":"/tmp","fail_to_pass":[],"pass_to_pass":[]})"}) {
    EXPECT_THAT(error_of(extra), HasSubstr("no tests")) << extra;
  }
  EXPECT_THAT(error_of("{}", "42"), HasSubstr("no tests"));
}

TEST(CodeTests, DamagedRecordsAreReadOrRefusedInOneLine) {
  const std::vector<std::string> seeds{
      R"({"tests":[{"input":"1\n","output":"2\n"}],"checker":{"kind":"float","tolerance":0.1},"time_limit":3})",
      R"({"fn_name":"f","inputs":[[[1,2],3]],"outputs":[5]})",
      R"({"test_list":["assert f(1)==2"],"test_setup_code":"import math","test_imports":["import re"]})",
      R"({"metadata":{"func_name":"f"},"tests":[{"input":"[1,2]\n3","output":"5","testtype":"functional"}]})",
      R"({"repository":"/x","fail_to_pass":["a"],"pass_to_pass":["b"],"test_command":["sh","{test}"]})"};
  const std::vector<std::string> words{"{",     "}",    "[", "]", "null",       "-1",
                                       "1e999", "\"\"", ":", ",", "\"tests\":", "true"};
  std::mt19937 random(7);
  int accepted = 0;
  for (int i = 0; i < 6000; i++) {
    std::string text = seeds[random() % seeds.size()];
    for (unsigned n = random() % 3 + 1; n > 0; n--) {
      const size_t at = random() % text.size();
      text.replace(at, random() % 6, words[random() % words.size()]);
    }
    try {
      const CodeTests t = read(text, i % 2 ? text : "");
      accepted++;
      EXPECT_TRUE(!t.cases.empty() || !t.asserts.empty() || t.form == Form::kRepository) << text;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << text;
    }
  }
  EXPECT_GT(accepted, 50);
}

TEST(CodeTests, WhatIsWrongIsNamed) {
  EXPECT_THAT(error_of(R"({"tests":[{"input":"1"}]})"), HasSubstr("lacks input or output"));
  EXPECT_THAT(error_of(R"({"inputs":["1","2"],"outputs":["1"]})"), HasSubstr("2 inputs and 1 outputs"));
  EXPECT_THAT(error_of(R"({"tests":7})"), HasSubstr("want a list or an object"));
  EXPECT_THAT(error_of(R"({"tests":[{"input":"","output":""}],"checker":"vague"})"), HasSubstr("checker"));
  EXPECT_THAT(error_of(R"({"tests":[{"input":"","output":""}],"time_limit":-3})"), HasSubstr("positive"));
  EXPECT_THAT(error_of(R"({"test_list":[1]})"), HasSubstr("want a text"));
}

TEST(Checker, TokensAndDecimalNumbersByDefault) {
  const Checker c;
  EXPECT_TRUE(outputs_agree(c, "1 2\n3\n", "1 2 3"));
  EXPECT_TRUE(outputs_agree(c, "0.5", "0.5000000001"));
  EXPECT_TRUE(outputs_agree(c, "1000000.0", "1000000.5"));
  EXPECT_FALSE(outputs_agree(c, "0.5", "0.51"));
  EXPECT_FALSE(outputs_agree(c, "5", "5.0"));
  EXPECT_FALSE(outputs_agree(c, "1 2", "1 2 3"));
  EXPECT_FALSE(outputs_agree(c, "1 2", "1"));
  EXPECT_FALSE(outputs_agree(c, "Yes", "Yes\nNo"));
  EXPECT_FALSE(outputs_agree(c, "0.5", "nan"));
  EXPECT_FALSE(outputs_agree(c, "1.5", "1.5abc"));
  EXPECT_TRUE(outputs_agree(c, "", " \n"));
  EXPECT_FALSE(outputs_agree(c, "x", ""));
}

TEST(Checker, KindsDiffer) {
  using Kind = Checker::Kind;
  EXPECT_FALSE(outputs_agree({Kind::kExact, 0, ""}, "1 2\n", "1\n2\n"));
  EXPECT_FALSE(outputs_agree({Kind::kExact, 0, ""}, "1  2", "1 2"));
  EXPECT_TRUE(outputs_agree({Kind::kExact, 0, ""}, "a\nb", "a \nb\n\n"));
  EXPECT_FALSE(outputs_agree({Kind::kTokens, 1, ""}, "0.5", "0.50"));
  EXPECT_TRUE(outputs_agree({Kind::kFloat, 1e-3, ""}, "5", "5.0004"));
  EXPECT_FALSE(outputs_agree({Kind::kFloat, 1e-3, ""}, "5", "5.01"));
  EXPECT_EQ(first_difference("1 2", "1 3"), "word 2: got \"3\", want \"2\"");
}

TEST(CallValue, ComparesAsPythonWould) {
  EXPECT_TRUE(values_agree("[1,2]", "[1,2]"));
  EXPECT_TRUE(values_agree("[1,2]", R"({"t":"tuple","v":[1,2]})"));
  EXPECT_TRUE(values_agree("[2,1]", R"({"t":"set","v":[1,2]})"));
  EXPECT_TRUE(values_agree(R"({"1":[2]})", R"({"t":"dict","v":[[1,[2]]]})"));
  EXPECT_TRUE(values_agree("0.3", "0.30000000000000004"));
  EXPECT_TRUE(values_agree("2", "2.0"));
  EXPECT_FALSE(values_agree("1", "true"));
  EXPECT_FALSE(values_agree("\"1\"", "1"));
  EXPECT_FALSE(values_agree("[1,2]", "[2,1]"));
  EXPECT_FALSE(values_agree("[1,1]", R"({"t":"set","v":[1]})"));
  EXPECT_FALSE(values_agree("null", ""));
  EXPECT_FALSE(values_agree("1", "not json"));
  EXPECT_FALSE(values_agree("1", R"({"t":"mine","v":0})"));
  EXPECT_FALSE(values_agree("0", "null"));
  EXPECT_FALSE(values_agree("[1]", std::string(100000, '[')));
}

TEST(CallValue, AWrappedExpectationHoldsForAllOrNone) {
  EXPECT_TRUE(values_agree_wrapped({"[1]", "[[2]]"}, {"1", "[2]"}));
  EXPECT_FALSE(values_agree_wrapped({"[1]", "[2]"}, {"1", "[2]"}));
  EXPECT_FALSE(values_agree_wrapped({}, {}));
}

TEST(Repository, TestsAreNotThePatchsToChange) {
  for (const char* p :
       {"tests/a.py", "pkg/test/x.sh", "test_a.py", "src/a_test.cc", "conftest.py", "a/sitecustomize.py", "data/x"}) {
    EXPECT_TRUE(is_protected(p, {"data"})) << p;
  }
  for (const char* p : {"src/a.py", "testament.py", "contest.py", "database/x", "latest.py"}) {
    EXPECT_FALSE(is_protected(p, {"data"})) << p;
  }
}

}  // namespace
}  // namespace fulmen::reward
