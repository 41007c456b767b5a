#include "tests/fuzz/reward_targets.h"

#include <nlohmann/json.hpp>

#include "reward/code/code_tests.h"
#include "reward/code/extract_code.h"
#include "reward/judge.h"
#include "reward/record_json.h"
#include "tests/fuzz/memory_file.h"

namespace fulmen::fuzz {
namespace {

using namespace reward;

void same(const Record& a, const Record& b) {
  promise(a.response == b.response && a.ground_truth == b.ground_truth && a.prompt == b.prompt, "the texts are kept");
  promise(a.kind == b.kind && a.data_source == b.data_source && a.has_truth == b.has_truth, "the kind is kept");
  promise(a.tokens == b.tokens && a.deadline_ms == b.deadline_ms, "the numbers are kept");
}

}  // namespace

bool read_score_record(std::string_view bytes) {
  Record r;
  Json j;
  const auto parse = [&] {
    try {
      j = parse_json(std::string(bytes));
    } catch (const Json::exception& e) {
      throw Error(json_reason(e));
    }
  };
  if (!accepted(parse)) return false;
  const bool is_record = accepted([&] { r = read_record(j); });
  accepted([&] {
    const Verdict v = read_verdict(j);
    const Verdict again = read_verdict(parse_json(dump_json(write_verdict(1, v))));
    promise(again.kind == v.kind && (v.kind != Kind::kScore || again.score == v.score), "a verdict is kept");
  });
  if (!is_record) return false;
  same(read_record(parse_json(dump_json(write_record(r)))), r);
  accepted([&] {
    const CodeTests t = read_code_tests(r);
    promise(t.form == CodeTests::Form::kRepository || t.cases.size() + t.asserts.size() > 0, "there are tests");
  });
  for (const char* language : {"python", "cpp"}) extract_code(r.response, language);
  extract_patch(r.response);
  return true;
}

std::vector<std::string> score_record_seeds() {
  return {
      R"({"id":1,"data_source":"gsm8k","prompt":"p","response":"\\boxed{1}","ground_truth":"1","extra_info":{"a":[1,2.5e3,null]},"tokens":7})",
      R"({"response":"```python\nprint(1)\n```","tests":[{"input":"1","output":"2"}],"checker":{"kind":"float","tolerance":1e-6},"time_limit":2})",
      R"({"completion":"x","reward_model":{"ground_truth":"{\"inputs\":[\"1\\n\"],\"outputs\":[\"2\\n\"],\"fn_name\":\"f\"}"},"deadline_ms":5})",
      R"({"solution_str":"def f(): pass","test_list":["assert f() is None"],"test_setup_code":"import math","language":"python3"})",
      R"j({"response":"x","test":"def check(c): assert c()","entry_point":"f","prompt":"def f():\n"})j",
      R"({"response":"x","fail_to_pass":["a"],"pass_to_pass":[],"repository":"/r","test_command":["sh","{test}"],"protect":["x"]})",
      R"({"id":"a","verdict":"score","score":0.5,"components":{"c":1},"detail":"d","response":""})",
      R"({"response":"x","input_output":{"fn_name":"g","inputs":[[1,[2]],[3,[]]],"outputs":[1,null]}})"};
}

bool read_judge_answer(std::string_view bytes) {
  const JudgeReply reply = read_judge_reply(std::string(bytes));
  promise((reply.kind == Kind::kScore) == reply.why.empty(), "there is a text, or a reason why there is none");
  const std::string text = reply.kind == Kind::kScore ? reply.text : std::string(bytes);
  const int grade = read_grade(text, 1, 5);
  promise(grade == -1 || (grade >= 1 && grade <= 5), "a grade is one of five, or none");
  const char better = read_preference(text);
  promise(better == '\0' || better == 'A' || better == 'B' || better == 'T', "a preference is one of three, or none");
  promise(grade < 0 || better == '\0', "a last line says one thing");
  rule_against(text, std::string(bytes.substr(0, 20)), 2);
  return reply.kind == Kind::kScore && (grade > 0 || better != '\0');
}

std::vector<std::string> judge_answer_seeds() {
  return {R"({"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"Well.\n\n**Grade: 4**"}}]})",
          R"({"choices":[{"message":{"content":"I compared.\nBetter: tie"}}],"usage":{"total_tokens":9}})"};
}

}  // namespace fulmen::fuzz
