#include "tests/fuzz/math_targets.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "reward/math/compare.h"
#include "reward/math/math_function.h"
#include "reward/math/parser.h"
#include "reward/math/profile.h"

namespace fulmen::fuzz {
namespace {

using namespace reward::math;

void promise(bool kept, const std::string& what) {
  if (!kept) throw std::logic_error("broken promise: " + what);
}

const Profile& profile_of(char c) { return find_profile(profile_names()[static_cast<unsigned char>(c) % 3]); }

}  // namespace

bool read_math_answer(std::string_view bytes) {
  const Profile& profile = profile_of(bytes.empty() ? 's' : bytes[0]);
  Tree tree;
  std::string why;
  const NodeId first = parse_answer(tree, bytes, profile, why);
  promise((first == kNone) == !why.empty(), "a refusal says why, and only that");
  if (first == kNone) return false;
  const std::string spelled = spell(tree, first);
  const NodeId second = parse_answer(tree, bytes, profile, why);
  promise(second != kNone && spell(tree, second) == spelled, "the same text is the same tree");
  const Same same = Comparison(tree, profile).equal(first, second);
  promise(same != Same::kNo, "an answer is not different from itself: " + spelled);
  return true;
}

bool read_math_pair(std::string_view bytes) {
  if (bytes.empty()) return false;
  const size_t nul = bytes.find('\0', 1);
  if (nul == std::string_view::npos) return false;
  reward::Record r;
  r.ground_truth = bytes.substr(1, nul - 1);
  r.response = bytes.substr(nul + 1);
  const auto function = make_math(profile_of(bytes[0]).name);
  const reward::Verdict v = function->score(r), again = function->score(r);
  promise(v.kind == again.kind && v.score == again.score && v.detail == again.detail, "the same verdict every time");
  promise(v.score == 0 || (v.score == 1 && v.kind == reward::Kind::kScore), "a score is 0 or 1");
  promise(!v.detail.empty() && v.detail.size() < 1000, "a detail is there and short");
  return v.kind == reward::Kind::kScore && v.score == 1;
}

std::vector<std::string> math_pair_seeds() {
  std::vector<std::string> seeds;
  auto add = [&](char profile, std::string gold, const std::string& response) {
    gold.insert(gold.begin(), profile);
    gold += '\0';
    seeds.push_back(gold + response);
  };
  std::ifstream in(FULMEN_SOURCE_DIR "/tests/golden/math/answers.jsonl");
  char profile = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string gold = nlohmann::json::parse(line).at("gold");
    add(profile, gold, "so \\boxed{" + gold + "}.");
    profile = static_cast<char>((profile + 1) % 3);
  }
  promise(!seeds.empty(), "tests/golden/math/answers.jsonl has seeds");
  return seeds;
}

}  // namespace fulmen::fuzz
