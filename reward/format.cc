#include "reward/final_answer.h"
#include "reward/functions.h"

namespace fulmen::reward {
namespace {

size_t count(std::string_view text, std::string_view word) {
  size_t n = 0;
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + word.size())) n++;
  return n;
}

bool blank(std::string_view s, std::string_view also = "") {
  for (char c : s) {
    if (std::string_view(" \t\r\n").find(c) == std::string_view::npos && also.find(c) == std::string_view::npos)
      return false;
  }
  return true;
}

class Format : public Function {
 public:
  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_reasoning() const override { return true; }
  bool wants_truth() const override { return false; }

  Verdict score(const Record& r) override {
    Verdict v;
    v.detail = defect(r.response);
    v.score = v.detail.empty() ? 1 : 0;
    return v;
  }

 private:
  // The first thing that is wrong, or nothing. The opening tag may stand in the prompt, so the closing one alone is
  // fine.
  static std::string defect(std::string_view response) {
    size_t open = count(response, "<think>"), close = count(response, "</think>");
    if (open > 1 || close > 1 || open > close) return "want one pair of <think> and </think>, or none";
    if (close == 1) {
      size_t begin = open == 1 ? response.find("<think>") + 7 : 0, end = response.find("</think>");
      if (begin > end) return "</think> stands before <think>";
      if (open == 1 && !blank(response.substr(0, begin - 7))) return "text before <think>";
      if (blank(response.substr(begin, end - begin))) return "nothing between <think> and </think>";
    }
    std::string_view text = *without_reasoning(response);
    std::vector<FoundAnswer> found = find_answers(text);
    if (found.empty()) return "no final answer: looked for \"#### 42\" and \"\\boxed{42}\"";
    if (found.size() > 1) return std::to_string(found.size()) + " final answers, want one";
    if (found[0].answer.empty()) return "the final answer is empty";
    if (!blank(text.substr(found[0].end), "$.*)]\\")) return "text after the final answer";
    return "";
  }

  std::string name_ = "format", version_ = "format-1";
};

}  // namespace

std::unique_ptr<Function> make_format() { return std::make_unique<Format>(); }

}  // namespace fulmen::reward
