#include <fmt/core.h>

#include <cctype>

#include "reward/functions.h"
#include "reward/math/answer_text.h"

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

int words(std::string_view text) {
  int n = 0;
  bool inside = false;
  for (const char c : text) {
    const bool letter = std::isalnum(static_cast<unsigned char>(c)) || (c & 0x80) != 0;
    n += letter && !inside;
    inside = letter;
  }
  return n;
}

bool ends_in_open_tag(std::string_view prompt) {
  while (!prompt.empty() && std::isspace(static_cast<unsigned char>(prompt.back()))) prompt.remove_suffix(1);
  return prompt.ends_with("<think>");
}

class Format : public Function {
 public:
  explicit Format(const FormatOptions& options)
      : options_(options),
        version_(fmt::format("format-2/{}/{}/{}", options.tags_required, options.final_answer, options.words)) {}

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_reasoning() const override { return true; }
  bool wants_truth() const override { return false; }

  Verdict score(const Record& r) override {
    std::string why = defect_of_reasoning(r.prompt, r.response);
    if (why.empty()) why = defect_of_answer(*math::without_reasoning(r.response));
    const double score = why.empty() ? 1 : 0;
    return make_verdict(Kind::kScore, score, std::move(why));
  }

 private:
  // The first thing that is wrong, or nothing.
  std::string defect_of_reasoning(std::string_view prompt, std::string_view response) const {
    const size_t open = count(response, "<think>"), close = count(response, "</think>");
    if (open == 0 && close == 0 && !options_.tags_required) return "";
    const size_t in_prompt = ends_in_open_tag(prompt) ? 1 : 0;
    if (close != 1 || open + in_prompt != 1) return "want one pair of <think> and </think>";
    const size_t begin = open == 1 ? response.find("<think>") + 7 : 0, end = response.find("</think>");
    if (begin > end) return "</think> stands before <think>";
    if (open == 1 && !blank(response.substr(0, begin - 7))) return "text before <think>";
    const int n = words(response.substr(begin, end - begin));
    if (n < options_.words) return fmt::format("{} words between <think> and </think>, want {}", n, options_.words);
    return "";
  }

  std::string defect_of_answer(std::string_view text) const {
    if (words(text) == 0) return "nothing after the reasoning";
    if (!options_.final_answer) return "";
    std::vector<math::FoundAnswer> found = math::find_answers(text);
    if (found.empty()) return "no final answer: looked for \"#### 42\" and \"\\boxed{42}\"";
    if (found.size() > 1) return std::to_string(found.size()) + " final answers, want one";
    if (found[0].answer.empty()) return "the final answer is empty";
    if (!blank(text.substr(found[0].end), "$.*)]\\")) return "text after the final answer";
    return "";
  }

  const FormatOptions options_;
  std::string name_ = "format", version_;
};

}  // namespace

std::unique_ptr<Function> make_format(const FormatOptions& options) { return std::make_unique<Format>(options); }

}  // namespace fulmen::reward
