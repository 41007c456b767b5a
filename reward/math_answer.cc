#include <fmt/core.h>

#include "kernels/error.h"
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

class MathAnswer : public Function {
 public:
  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }

  Verdict score(const Record& r) override {
    std::string why;
    std::optional<Quantity> truth = ground_truth(r.ground_truth, why);
    if (!truth) {
      return make_verdict(Kind::kError, 0, fmt::format("ground truth {}: {}", quoted(r.ground_truth), why));
    }
    bool hedged = false;
    std::vector<FoundAnswer> finals = final_answers(r.response, hedged);
    if (finals.empty())
      return make_verdict(Kind::kUnparsable, 0, "no final answer: looked for \"#### 42\" and \"\\boxed{42}\"");
    if (hedged) return make_verdict(Kind::kScore, 0, "more than one final answer: the text goes on with \"or\"");

    std::optional<Quantity> first;
    for (const FoundAnswer& f : finals) {
      std::optional<Quantity> q = parse_quantity(f.answer, why);
      if (!q) return make_verdict(Kind::kScore, 0, fmt::format("answer {}: {}", quoted(f.answer), why));
      if (first && !same_quantity(*first, *q)) {
        return make_verdict(
            Kind::kScore, 0,
            fmt::format("more than one final answer: {} and {}", quoted(finals.front().answer), quoted(f.answer)));
      }
      if (!first) first = std::move(q);
    }
    if (same_quantity(*first, *truth)) return make_verdict(Kind::kScore, 1, "");
    return make_verdict(Kind::kScore, 0,
                        fmt::format("answer {}, want {}", quoted(finals.back().answer), quoted(r.ground_truth)));
  }

 private:
  // A bare number, or a worked solution that ends in one.
  static std::optional<Quantity> ground_truth(const std::string& text, std::string& why) {
    bool hedged = false;
    std::vector<FoundAnswer> finals = final_answers(text, hedged);
    return parse_quantity(finals.empty() ? std::string_view(text) : finals.back().answer, why);
  }

  std::string name_ = "math", version_ = "math-1";
};

}  // namespace

std::unique_ptr<Function> make_math(const std::string& profile) {
  FULMEN_CHECK(profile.empty() || profile == "strict", fmt::format("math profile: got {}, want strict", profile));
  return std::make_unique<MathAnswer>();
}

}  // namespace fulmen::reward
