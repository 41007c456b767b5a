#include "reward/math/math_function.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "reward/math/answer_text.h"
#include "reward/math/choice.h"
#include "reward/math/compare.h"
#include "reward/math/parser.h"
#include "reward/math/profile.h"

namespace fulmen::reward::math {
namespace {

std::string shown(std::string_view s) {
  constexpr size_t kShown = 80;
  return s.size() <= kShown ? fmt::format("\"{}\"", s)
                            : fmt::format("\"{}...\" ({} characters)", s.substr(0, kShown), s.size());
}

// The answer of a ground truth: alone, or at the end of a worked solution.
std::string gold_text(std::string_view gold, const Profile& profile) {
  bool hedged = false;
  std::vector<FoundAnswer> finals = final_answers(gold, hedged);
  if (!finals.empty()) return joined(finals);
  constexpr size_t kLongestBare = 2048;
  if (profile.finds_unmarked || gold.size() > kLongestBare) {
    std::string found = unmarked_answer(gold);
    if (!found.empty()) return found;
  }
  return std::string(gold);
}

// "The answer is not 34", "is surely not $34$", "isn't 34"; but "not defined" is an answer.
bool is_denied(std::string_view text) {
  constexpr size_t kFirstWords = 24;
  for (std::string_view word : {"not ", "n't ", "no longer ", "never "}) {
    const size_t at = text.substr(0, kFirstWords).find(word);
    if (at == std::string_view::npos) continue;
    const size_t next = text.find_first_not_of(' ', at + word.size());
    if (next == std::string_view::npos) continue;
    const char c = text[next];
    if (std::isdigit(static_cast<unsigned char>(c)) != 0 ||
        std::string_view("$\\-(*").find(c) != std::string_view::npos)
      return true;
  }
  return false;
}

// Says more than a value, in words.
bool is_hedged(std::string_view text) {
  const bool formula = text.find_first_of("$\\") != std::string_view::npos;
  if (!formula && (text.find(" or ") != std::string_view::npos || text.find("either ") != std::string_view::npos))
    return true;
  for (std::string_view words :
       {"at least", "at most", "more than", "less than", "fewer than", "greater than", "between ", "other than"}) {
    if (text.find(words) != std::string_view::npos) return true;
  }
  return false;
}

struct Extracted {
  std::string text;
  std::string wrong;  // why it is wrong whatever it says
};

std::optional<Extracted> answer_text(std::string_view response, const Profile& profile) {
  bool hedged = false;
  std::vector<FoundAnswer> finals = final_answers(response, hedged);
  if (!finals.empty()) {
    if (hedged) return Extracted{"", "more than one final answer: the text goes on with \"or\""};
    std::string text = joined(finals);
    std::string_view announced = announced_answer(text);         // <answer>The answer is 34</answer>
    if (announced.starts_with('}')) announced.remove_prefix(1);  // \text{The answer is }34
    return Extracted{announced.empty() ? text : std::string(announced), ""};
  }
  if (profile.closes_braces) {
    std::string_view open = open_box(response);
    if (!open.empty()) return Extracted{std::string(open), ""};
  }
  std::string_view announced = announced_answer(response);
  if (!announced.empty()) {
    if (is_denied(announced)) return Extracted{"", "says what the answer is not"};
    if (!profile.finds_unmarked) return Extracted{std::string(announced), ""};
    // "at least 34", "either 34 or 35": the last number is not what was said.
    std::string formula = is_hedged(announced) ? "" : unmarked_answer(announced);
    return Extracted{formula.empty() ? std::string(announced) : formula, ""};
  }
  std::string found;
  if (profile.finds_unmarked) found = unmarked_answer(response);
  if (profile.whole_text) found = std::string(response);
  if (found.find_first_not_of(" \t\r\n") == std::string::npos) return std::nullopt;
  return Extracted{found, ""};
}

bool is_many(const Tree& t, NodeId n) {
  Op op = t.op(n);
  return op == Op::kList || op == Op::kTuple || op == Op::kSet || op == Op::kVector;
}

// Three digits behind a comma may also be the next element: 100,200. Read that way where the other side is a list.
std::string commas_spaced(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    out += text[i];
    bool digits = i > 0 && std::isdigit(static_cast<unsigned char>(text[i - 1])) != 0;
    if (text[i] == ',' && digits) out += ' ';
  }
  return out;
}

// 1,5 as 1.5; empty when it is no such number (1,500 is none).
std::string with_point(const std::string& text) {
  size_t comma = text.find(',');
  if (comma == std::string::npos || comma == 0 || comma + 1 == text.size() || comma + 4 == text.size()) return "";
  std::string out = text;
  out[comma] = '.';
  bool number = std::all_of(out.begin(), out.end(),
                            [](unsigned char c) { return std::isdigit(c) != 0 || c == '.' || c == '-' || c == '$'; });
  return number && std::count(out.begin(), out.end(), '.') == 1 ? out : "";
}

class MathFunction : public Function {
 public:
  explicit MathFunction(const std::string& profile)
      : profile_(find_profile(profile)), version_("math-4(" + profile_.name + ")") {}

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }

  std::string truth_problem(const Record& r) override {
    std::string why;
    if (r.has_truth && !gold_is_parsable(r.ground_truth, profile_of(r).name, why))
      return fmt::format("ground_truth {}: {}", shown(r.ground_truth), why);
    return Function::truth_problem(r);
  }

  Verdict score(const Record& r) override {
    const Profile* profile = &profile_of(r);
    std::optional<std::string_view> text = without_reasoning(r.response);
    if (!text) return make_verdict(Kind::kUnparsable, 0, "the reasoning is not closed: no </think> after <think>");
    Tree tree;
    std::string why;
    const auto [gold, parameter] = without_domain(gold_text(r.ground_truth, *profile));
    NodeId truth = parse_answer(tree, gold, *profile, why);
    if (truth == kNone) {
      Verdict v = make_verdict(Kind::kUnparsable, 0, fmt::format("ground_truth {}: {}", shown(r.ground_truth), why));
      v.truth_at_fault = true;
      return v;
    }
    std::optional<Extracted> found = answer_text(*text, *profile);
    if (!found)
      return make_verdict(Kind::kUnparsable, 0,
                          "no final answer: looked for \"#### 42\", \"\\boxed{42}\", \"<answer>42</answer>\" and \"the "
                          "answer is 42\"");
    if (!found->wrong.empty()) return make_verdict(Kind::kScore, 0, found->wrong);
    const auto [answer, its_parameter] = without_domain(found->text);
    if (!parameter.empty() && !its_parameter.empty()) truth = renamed(tree, truth, parameter, its_parameter);
    return compare(tree, truth, gold, answer, *profile);
  }

 private:
  const Profile& profile_of(const Record& r) const {
    if (r.extra_info.find("\"profile\"") == std::string::npos) return profile_;
    const auto info = nlohmann::json::parse(r.extra_info, nullptr, false);
    const bool named = info.is_object() && info.contains("profile") && info["profile"].is_string();
    return named ? find_profile(info["profile"].get<std::string>()) : profile_;
  }

  static Verdict compare(Tree& tree, NodeId truth, const std::string& gold, const std::string& text,
                         const Profile& profile) {
    std::string why;
    NodeId answer = parse_answer(tree, text, profile, why);
    Comparison comparison(tree, profile);
    Same same = answer == kNone ? Same::kNo : comparison.equal(truth, answer);
    std::string how = answer == kNone ? why : comparison.how();
    if (same == Same::kNo) same = read_otherwise(tree, truth, answer, gold, text, profile);
    if (same == Same::kNo) same = as_choices(tree, truth, answer, gold, text, profile);
    switch (same) {
      case Same::kYes:
        return make_verdict(Kind::kScore, 1, fmt::format("{} = {} ({})", shown(gold), shown(text), how));
      case Same::kNo:
        return make_verdict(Kind::kScore, 0, fmt::format("answer {}, want {} ({})", shown(text), shown(gold), how));
      case Same::kUndecided:
        break;
    }
    return make_verdict(Kind::kUndecided, 0,
                        fmt::format("{} = {}: neither proved nor refuted ({})", shown(gold), shown(text), how));
  }

  // Where commas can be read in two ways, the other side says which.
  static Same read_otherwise(Tree& tree, NodeId truth, NodeId answer, const std::string& gold, const std::string& text,
                             const Profile& profile) {
    if (answer == kNone) return Same::kNo;
    std::string why, other;
    bool spaced_answer = is_many(tree, truth) && !is_many(tree, answer) && text.find(',') != std::string::npos;
    bool spaced_gold = is_many(tree, answer) && !is_many(tree, truth) && gold.find(',') != std::string::npos;
    bool decimal = profile.decimal_comma && !is_many(tree, truth);
    if (spaced_answer) {
      answer = parse_answer(tree, commas_spaced(text), profile, why);
    } else if (decimal && !(other = with_point(text)).empty()) {
      answer = parse_answer(tree, other, profile, why);
    } else if (profile.decimal_comma && !is_many(tree, answer) && !(other = with_point(gold)).empty()) {
      truth = parse_answer(tree, other, profile, why);
    } else if (spaced_gold) {
      truth = parse_answer(tree, commas_spaced(gold), profile, why);
    } else {
      return Same::kNo;
    }
    if (answer == kNone || truth == kNone) return Same::kNo;
    return Comparison(tree, profile).equal(truth, answer);
  }

  // "(B) 12" says B, and 12. Where both sides name a letter, the letters decide, and what both say beside them.
  static Same as_choices(Tree& tree, NodeId truth, NodeId answer, const std::string& gold, const std::string& text,
                         const Profile& profile) {
    const std::optional<Choice> wanted = read_choice(gold), said = read_choice(text);
    if (!wanted && !said) return Same::kNo;
    if (wanted && said && wanted->letter != said->letter) return Same::kNo;
    if (wanted && said && (wanted->rest.empty() || said->rest.empty())) return Same::kYes;
    std::string why;
    if (wanted) truth = wanted->rest.empty() ? kNone : parse_answer(tree, wanted->rest, profile, why);
    if (said) answer = said->rest.empty() ? kNone : parse_answer(tree, said->rest, profile, why);
    if (truth == kNone || answer == kNone) return Same::kNo;
    return Comparison(tree, profile).equal(truth, answer);
  }

  // k \pi for any integer k is n \pi for any integer n.
  static NodeId renamed(Tree& tree, NodeId n, const std::string& from, const std::string& to) {
    if (from == to || tree.full()) return n;
    if (tree.op(n) == Op::kSymbol) return tree.name(n) == from ? tree.symbol(to) : n;
    std::vector<NodeId> kids = tree.kids(n);
    if (kids.empty()) return n;
    for (NodeId& k : kids) k = renamed(tree, k, from, to);
    const Node copy = tree[n];
    return tree.add(copy.op, kids, copy.detail, copy.payload);
  }

  const Profile& profile_;
  std::string name_ = "math", version_;
};

}  // namespace

std::unique_ptr<Function> make_math(const std::string& profile) { return std::make_unique<MathFunction>(profile); }

bool gold_is_parsable(std::string_view text, const std::string& profile, std::string& why) {
  const Profile& p = find_profile(profile);
  Tree tree;
  return parse_answer(tree, without_domain(gold_text(text, p)).text, p, why) != kNone;
}

}  // namespace fulmen::reward::math
