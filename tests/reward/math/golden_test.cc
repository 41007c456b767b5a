// The verifier over pieces of public data (tests/golden/math/NOTES).
#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "reward/math/ball.h"
#include "reward/math/math_function.h"
#include "reward/math/parser.h"

namespace fulmen::reward::math {
namespace {

using Json = nlohmann::json;

std::vector<Json> golden(const std::string& name) {
  std::ifstream in(FULMEN_SOURCE_DIR "/tests/golden/math/" + name);
  EXPECT_TRUE(in.good()) << name;
  std::vector<Json> rows;
  for (std::string line; std::getline(in, line);) rows.push_back(Json::parse(line));
  return rows;
}

Verdict judge(const std::string& gold, const std::string& response) {
  static const auto function = make_math("");
  Record r;
  r.ground_truth = gold;
  r.response = response;
  return function->score(r);
}

bool accepted(const Verdict& v) { return v.kind == Kind::kScore && v.score == 1; }

TEST(MathGolden, EveryReferenceAnswerIsItsOwnAndNoOtherDigitIs) {
  for (const Json& row : golden("answers.jsonl")) {
    const std::string gold = row["gold"];
    EXPECT_TRUE(accepted(judge(gold, "so \\boxed{" + gold + "}."))) << gold;
    for (size_t i = 0; i < gold.size(); i++) {
      if (gold[i] < '0' || gold[i] > '9') continue;
      std::string other = gold;
      other[i] = static_cast<char>('0' + (gold[i] - '0' + 1) % 10);
      EXPECT_FALSE(accepted(judge(gold, "so \\boxed{" + other + "}."))) << gold << " and " << other;
    }
  }
}

TEST(MathGolden, AgreesWithThePublishersOfModelAnswers) {
  for (const Json& row : golden("model_answers.jsonl")) {
    const std::string gold = row["gold"], answer = row["pred"];
    EXPECT_EQ(accepted(judge(gold, "\\boxed{" + answer + "}")), row["correct"].get<bool>())
        << gold << " and " << answer;
  }
}

TEST(MathGolden, EveryProfileGivesItsOwnVerdict) {
  const std::unique_ptr<Function> functions[] = {make_math("strict"), make_math("math-verify"), make_math("hendrycks")};
  size_t checked = 0;
  for (const Json& row : golden("adversarial.jsonl")) {
    Record r;
    r.ground_truth = row["gold"];
    r.response = row["response"];
    for (size_t i = 0; i < 3; i++) {
      const char want = row["verdicts"].get<std::string>().at(i);
      if (want == '.') continue;
      const Verdict v = functions[i]->score(r);
      EXPECT_EQ(accepted(v), want == '1') << functions[i]->version() << ": " << row << ": " << v.detail;
      checked++;
    }
  }
  EXPECT_GT(checked, 2400u);
}

TEST(MathGolden, NoExploitGetsAVerdictAgainstItsLabel) {
  for (const Json& row : golden("exploits.jsonl")) {
    const Verdict v = judge(row["gold"], row["response"]);
    if (row["expected"].is_null()) continue;
    EXPECT_EQ(accepted(v), row["expected"].get<bool>()) << row["id"] << ": " << v.detail;
  }
}

TEST(MathGolden, BombsEndQuicklyAndAreNotRight) {
  auto many = [](const std::string& s, int n) {
    std::string text;
    for (int i = 0; i < n; i++) text += s;
    return text;
  };
  double longest = 0;
  const std::vector<std::string> bombs = {"0." + many("3", 100000),
                                          many("(", 20000) + "34" + many(")", 20000),
                                          many("\\frac{1}{", 2000) + "2" + many("}", 2000),
                                          many("1+", 20000) + "1",
                                          many("\\sqrt{", 3000) + "2" + many("}", 3000),
                                          "10^{10^{10}}",
                                          "((9!)!)!",
                                          "\\binom{10^9}{5\\cdot 10^8}",
                                          "(x+y+z+w)^{5000}-(x+y+z+w)^{4999}",
                                          "\\sum_{k=1}^{1000000000} k",
                                          "1e999999999",
                                          "9^{9^{9^{9}}}",
                                          "(" + many("(2x)^{2000}", 100) + ")^{2000}",
                                          "((((2x+y)^{100})^{100})^{100})^{100}",
                                          many("\\sin(", 90) + "x" + many(")", 90),
                                          many("\\Gamma(x)!", 200)};
  for (const std::string& answer : bombs) {
    const std::clock_t start = std::clock();
    EXPECT_FALSE(accepted(judge("34", "\\boxed{" + answer + "}"))) << answer.substr(0, 40);
    longest = std::max(longest, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  EXPECT_LT(longest, 2) << "seconds of CPU time";
}

std::string plain(const std::string& name) {
  std::string out;
  for (char c : name) {
    if (c != '{' && c != '}' && c != '\\' && c != ' ') out += c;
  }
  return out;
}

// "1.5", "2*I", "1.5 - 2*I"
void split_complex(const std::string& text, double& re, double& im) {
  re = im = 0;
  const size_t i = text.find("*I"), plus = text.find(" + "), minus = text.find(" - ");
  const size_t sign = std::min(plus, minus);
  if (i == std::string::npos) {
    re = std::stod(text);
  } else if (sign == std::string::npos) {
    im = std::stod(text);
  } else {
    re = std::stod(text);
    im = std::stod(text.substr(sign + 3)) * (minus == sign ? -1 : 1);
  }
}

TEST(MathGolden, LatexHasTheValueThatSymPyGivesIt) {
  size_t rows = 0, agree = 0;
  for (const Json& row : golden("latex_values.jsonl")) {
    rows++;
    Tree t;
    std::string why;
    NodeId n = parse_answer(t, row["latex"].get<std::string>(), find_profile("math-verify"), why);
    if (n == kNone) continue;
    Bindings point;
    for (const auto& [name, value] : row["point"].items()) {
      for (NodeId i = 0; i < t.size(); i++) {
        if (t.op(i) == Op::kSymbol && plain(t.name(i)) == plain(name))
          point.emplace_back(t[i].payload, mpq_class(value.get<std::string>()));
      }
    }
    Work work(1000000);
    Balls balls(t, work, 128, 0, 0, point);
    Ball x;
    if (!balls.value(n, x)) continue;
    double re = 0, im = 0;
    split_complex(row["value"], re, im);
    const double a = arf_get_d(arb_midref(acb_realref(x.get())), ARF_RND_NEAR);
    const double b = arf_get_d(arb_midref(acb_imagref(x.get())), ARF_RND_NEAR);
    const double near = 1e-9 * std::max(std::abs(re), std::abs(im)) + 1e-300;
    agree += std::abs(a - re) <= near && std::abs(b - im) <= near;
  }
  EXPECT_EQ(rows, 300u);
  EXPECT_GE(agree, rows * 95 / 100);
}

}  // namespace
}  // namespace fulmen::reward::math
