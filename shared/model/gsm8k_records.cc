#include "shared/model/gsm8k_records.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/base/nested_json.h"

namespace fulmen::model {
namespace {

using Json = nlohmann::ordered_json;

const char* const kInstruction = " Let's think step by step and output the final answer after \"####\".";

std::string text_field(const Json& row, const char* key, const std::string& where) {
  auto it = row.find(key);
  FULMEN_CHECK(it != row.end() && it->is_string(), where + ": " + key + ": want a string");
  return it->get<std::string>();
}

// The number after "#### ", without its thousands separators.
std::string final_answer(const std::string& answer, const std::string& where) {
  const std::string mark = "#### ";
  const size_t at = answer.find(mark);
  std::string number;
  for (size_t i = at == std::string::npos ? answer.size() : at + mark.size(); i < answer.size(); ++i) {
    const char c = answer[i];
    const bool sign = c == '-' && number.empty();
    if (c == ',') continue;
    if (!sign && c != '.' && (c < '0' || c > '9')) break;
    number += c;
  }
  const bool digits = std::any_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; });
  FULMEN_CHECK(digits, where + ": answer: no number after \"#### \"");
  return number;
}

Json record(const Json& row, int64_t index, const std::string& split, const std::string& where) {
  const std::string question = text_field(row, "question", where), answer = text_field(row, "answer", where);
  return {{"data_source", "openai/gsm8k"},
          {"prompt", Json::array({{{"role", "user"}, {"content", question + kInstruction}}})},
          {"ability", "math"},
          {"reward_model", {{"style", "rule"}, {"ground_truth", final_answer(answer, where)}}},
          {"extra_info", {{"split", split}, {"index", index}, {"question", question}, {"answer", answer}}}};
}

}  // namespace

int64_t convert_gsm8k(const std::string& from, const std::string& to, const std::string& split) {
  const std::string text = base::read_file(from);
  std::string out;
  int64_t line = 0, records = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = from + ":" + std::to_string(++line);
    const std::string row_text = text.substr(begin, end - begin);
    begin = end + 1;
    if (row_text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json row = base::parse_json<Json>(row_text, where);
    FULMEN_CHECK(row.is_object(), where + ": got " + row.type_name() + ", want an object");
    out += record(row, records++, split, where).dump() + "\n";
  }
  FULMEN_CHECK(records > 0, from + ": no records");
  base::write_file_atomic(to, out);
  return records;
}

}  // namespace fulmen::model
