// What is asked and how answers are read: the parts of the judge that no server is needed for.
#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <string_view>

#include "reward/judge.h"
#include "reward/record_json.h"

namespace fulmen::reward {
namespace {

std::string lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string_view trimmed(std::string_view s, std::string_view what) {
  const size_t begin = s.find_first_not_of(what);
  if (begin == std::string_view::npos) return {};
  return s.substr(begin, s.find_last_not_of(what) - begin + 1);
}

// The last line that is not blank, without emphasis and white space at its ends, in lower case.
std::string last_line(std::string_view text) {
  text = trimmed(text, " \t\r\n");
  const size_t line = text.rfind('\n');
  return lower(trimmed(line == std::string_view::npos ? text : text.substr(line + 1), " \t\r*_`"));
}

// What follows `word` and a colon, alone.
std::string_view after(std::string_view line, std::string_view word) {
  if (line.substr(0, word.size()) != word) return {};
  line.remove_prefix(word.size());
  line = trimmed(line, " \t*");
  if (line.empty() || line[0] != ':') return {};
  return trimmed(line.substr(1), " \t*");
}

constexpr std::array<std::string_view, 12> kMasterKeys{"thought process",
                                                       "let's solve this problem step by step",
                                                       "let us solve this problem step by step",
                                                       "solution",
                                                       "the answer is",
                                                       "answer",
                                                       "final answer",
                                                       "reasoning",
                                                       "step by step",
                                                       "\xe8\xa7\xa3",
                                                       "\xe3\x81\x8b\xe3\x81\x84\xe3\x81\x9b\xe3\x81\xa4",
                                                       "respuesta"};

}  // namespace

JudgeReply read_judge_reply(const std::string& body) {
  try {
    const Json j = parse_json(body);
    const Json& choice = j.at("choices").at(0);
    if (choice.contains("finish_reason") && choice["finish_reason"] == "length")
      return {"", Kind::kUndecided, "the judge's text was cut by max_tokens"};
    return {choice.at("message").at("content").get<std::string>(), Kind::kScore, ""};
  } catch (const std::exception& e) {
    return {"", Kind::kError, "the judge's answer cannot be read: " + json_reason(e)};
  }
}

int read_grade(const std::string& text, int low, int high) {
  const std::string line = last_line(text);
  const std::string_view number = after(line, "grade");
  if (number.size() != 1 || number[0] < '0' || number[0] > '9') return -1;
  const int grade = number[0] - '0';
  return grade >= low && grade <= high ? grade : -1;
}

char read_preference(const std::string& text) {
  const std::string line = last_line(text);
  const std::string_view choice = after(line, "better");
  return choice == "a" ? 'A' : choice == "b" ? 'B' : choice == "tie" ? 'T' : '\0';
}

std::string rule_against(const std::string& response, const std::string& truth, int min_chars) {
  constexpr std::string_view kEnds = " \t\r\n.:!,;*#-";
  int chars = 0;
  bool digit = false;
  for (const char c : response) {
    digit = digit || std::isdigit(static_cast<unsigned char>(c)) != 0;
    chars += std::isalnum(static_cast<unsigned char>(c)) != 0 || (static_cast<unsigned char>(c) & 0xC0) == 0xC0;
  }
  if (chars == 0) return "an empty response";
  const std::string said = lower(trimmed(response, kEnds));
  if (!truth.empty() && said == lower(trimmed(truth, kEnds))) return "";
  if (std::find(kMasterKeys.begin(), kMasterKeys.end(), said) != kMasterKeys.end())
    return "a phrase that says nothing: " + said;
  if (chars < min_chars && !digit) return "fewer than " + std::to_string(min_chars) + " letters and digits";
  return "";
}

}  // namespace fulmen::reward
