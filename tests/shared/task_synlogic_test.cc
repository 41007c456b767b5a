#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "shared/base/file.h"
#include "shared/task/answer.h"
#include "shared/task/domains.h"
#include "shared/task/synlogic.h"
#include "shared/task/task.h"

namespace fulmen::task {
namespace {

using Json = nlohmann::json;

struct Record {
  std::string kind, gold;
  Json puzzle;
};

std::vector<Record> records() {
  std::istringstream in(base::read_file(std::string(FULMEN_SOURCE_DIR) + "/tests/golden/synlogic/records.jsonl"));
  std::vector<Record> out;
  for (std::string line; std::getline(in, line);) {
    const Json source = Json::parse(line);
    if (source["answer"] == "3127.222222222222") continue;
    const Json own = import_synlogic(source);
    out.push_back({source["task"], own["reward_model"]["ground_truth"], own["extra_info"]["puzzle"]});
  }
  return out;
}

Check check_of(const Record& r, const std::string& answer) {
  return find_task(r.kind).verify({r.puzzle, r.gold}, answer);
}

// These samples contradict the rules in their own questions: stars that touch, signs that do not hold, a number twice
// in a cage. The second record of calcudoko is a sound one.
const std::set<std::string> kUnsound{"futoshiki", "star_placement_puzzle"};

TEST(SynLogic, GoldAnswersAreAcceptedByOurRules) {
  std::set<std::string> kinds;
  for (const Record& r : records()) {
    const Check c = check_of(r, r.gold);
    kinds.insert(r.kind);
    if (kUnsound.count(r.kind)) {
      EXPECT_EQ(c.finding, Finding::kWrong) << r.kind;
    } else {
      EXPECT_EQ(c.finding, Finding::kRight) << r.kind << ": " << c.why << "\n" << r.gold;
    }
  }
  EXPECT_EQ(kinds.size(), 29u);
  EXPECT_EQ(synlogic_kinds(), std::vector<std::string>(kinds.begin(), kinds.end()));
}

// What a star record accepts instead of its gold: found among all permutations.
TEST(SynLogic, AStarRecordHasOneSolutionByItsOwnRules) {
  for (const Record& r : records()) {
    if (r.kind != "star_placement_puzzle") continue;
    std::vector<int> columns{1, 2, 3, 4};
    int right_ones = 0;
    do {
      std::string answer;
      for (size_t i = 0; i < 4; ++i) answer += std::to_string(i + 1) + "," + std::to_string(columns[i]) + " ";
      right_ones += check_of(r, answer).finding == Finding::kRight;
    } while (std::next_permutation(columns.begin(), columns.end()));
    EXPECT_EQ(right_ones, 1);
  }
}

TEST(SynLogic, MutatedGoldAnswersAreRejected) {
  int tried = 0;
  for (const Record& r : records()) {
    if (r.kind == "math_path") continue;  // other digits may be right
    Random random(base::Stream(3, base::Purpose::kTest, static_cast<uint64_t>(tried)));
    for (int k = 0; k < 30; ++k) {
      std::string answer = r.gold;
      const size_t at = static_cast<size_t>(random.below(answer.size()));
      char& c = answer[at];
      const char old = c;
      if (c >= '0' && c <= '9') c = static_cast<char>('0' + random.below(10));
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) c = static_cast<char>(c ^ 1);
      if (c == '#' || c == '.') c = c == '#' ? '.' : '#';
      if (c == old) continue;
      ++tried;
      EXPECT_NE(check_of(r, answer).finding, Finding::kRight) << r.kind << "\n" << r.gold << "\nbecame\n" << answer;
    }
  }
  EXPECT_GT(tried, 600);
}

TEST(SynLogic, OtherRecordsAreRefused) {
  EXPECT_THROW(import_synlogic(Json::object()), Error);
  EXPECT_THROW(import_synlogic({{"task", "arc_agi"}, {"answer", ""}}), Error);
  EXPECT_THROW(import_synlogic({{"task", "sudoku"}, {"answer", ""}, {"metadata", nullptr}}), Error);
  EXPECT_THROW(
      import_synlogic(
          {{"task", "norinori"}, {"answer", ""}, {"metadata", {{"region_grid", {{"A"}}}, {"solution", {{{1, 5}}}}}}}),
      Error);
}

}  // namespace
}  // namespace fulmen::task
