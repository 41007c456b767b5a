#include <fmt/core.h>

#include "reward/final_answer.h"
#include "reward/functions.h"
#include "reward/math_number.h"

namespace fulmen::reward {
namespace {

std::string quoted(std::string_view s) {
  constexpr size_t kShown = 80;
  return s.size() <= kShown ? fmt::format("\"{}\"", s)
                            : fmt::format("\"{}...\" ({} characters)", s.substr(0, kShown), s.size());
}

Verdict verdict(Kind kind, double score, std::string detail) {
  Verdict v;
  v.kind = kind;
  v.score = score;
  v.detail = std::move(detail);
  return v;
}

class MathAnswer : public Function {
 public:
  const std::string& name() const override { return name_; }

  Verdict score(const Record& r) override {
    std::string why;
    std::optional<Quantity> truth = ground_truth(r.ground_truth, why);
    if (!truth) {
      return verdict(Kind::kError, 0, fmt::format("ground truth {}: {}", quoted(r.ground_truth), why));
    }
    std::optional<std::string_view> text = without_reasoning(r.response);
    if (!text) return verdict(Kind::kUnparsable, 0, "the reasoning is not closed: no </think> after <think>");
    bool hedged = false;
    std::vector<FoundAnswer> finals = final_answers(*text, hedged);
    if (finals.empty())
      return verdict(Kind::kUnparsable, 0, "no final answer: looked for \"#### 42\" and \"\\boxed{42}\"");
    if (hedged) return verdict(Kind::kScore, 0, "more than one final answer: the text goes on with \"or\"");

    std::optional<Quantity> first;
    for (const FoundAnswer& f : finals) {
      std::optional<Quantity> q = parse_quantity(f.answer, why);
      if (!q) return verdict(Kind::kScore, 0, fmt::format("answer {}: {}", quoted(f.answer), why));
      if (first && !same_quantity(*first, *q)) {
        return verdict(
            Kind::kScore, 0,
            fmt::format("more than one final answer: {} and {}", quoted(finals.front().answer), quoted(f.answer)));
      }
      if (!first) first = std::move(q);
    }
    if (same_quantity(*first, *truth)) return verdict(Kind::kScore, 1, "");
    return verdict(Kind::kScore, 0,
                   fmt::format("answer {}, want {}", quoted(finals.back().answer), quoted(r.ground_truth)));
  }

 private:
  // A bare number, or a worked solution that ends in one.
  static std::optional<Quantity> ground_truth(const std::string& text, std::string& why) {
    bool hedged = false;
    std::vector<FoundAnswer> finals = final_answers(text, hedged);
    return parse_quantity(finals.empty() ? std::string_view(text) : finals.back().answer, why);
  }

  std::string name_ = "math";
};

}  // namespace

std::unique_ptr<Function> make_math() { return std::make_unique<MathAnswer>(); }

}  // namespace fulmen::reward
