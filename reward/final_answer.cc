#include "reward/final_answer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace fulmen::reward {
namespace {

constexpr std::string_view kThink = "<think>", kEndThink = "</think>";
constexpr size_t kMaxBetween = 48;  // characters between two answers that are one last word

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.front()))) s.remove_prefix(1);
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back()))) s.remove_suffix(1);
  return s;
}

// Boxes by one pass with a stack of open braces.
void find_boxes(std::string_view text, std::vector<FoundAnswer>& found) {
  constexpr size_t kPlain = static_cast<size_t>(-1);
  struct Open {
    size_t box;    // where \boxed begins, or kPlain
    size_t inner;  // first character behind the brace
  };
  std::vector<Open> open;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\') {
      size_t length = 0;
      for (std::string_view name : {std::string_view("\\boxed"), std::string_view("\\fbox")}) {
        if (text.substr(i, name.size()) == name) length = name.size();
      }
      size_t brace = i + length;
      while (length > 0 && brace < text.size() && text[brace] == ' ') brace++;
      if (length > 0 && brace < text.size() && text[brace] == '{') {
        open.push_back({i, brace + 1});
        i = brace;
      } else {
        i++;  // \{ and \} are not braces
      }
    } else if (text[i] == '{') {
      open.push_back({kPlain, i + 1});
    } else if (text[i] == '}' && !open.empty()) {
      Open o = open.back();
      open.pop_back();
      if (o.box == kPlain) continue;
      while (!found.empty() && found.back().begin > o.box) found.pop_back();  // boxes inside this one
      found.push_back({o.box, i + 1, trimmed(text.substr(o.inner, i - o.inner))});
    }
  }
}

void find_hashes(std::string_view text, std::vector<FoundAnswer>& found) {
  size_t line_end = 0;  // looked up once a line, so that many marks on one line stay cheap
  for (size_t at = text.find("####"); at != std::string_view::npos;) {
    size_t after = std::min(text.find_first_not_of('#', at), text.size());
    if (after >= line_end) line_end = std::min(text.find_first_of("\r\n", after), text.size());
    size_t next = text.find("####", after);
    if (after - at == 4) {
      size_t end = std::min(next, line_end);
      std::string_view answer = trimmed(text.substr(after, end - after));
      if (std::any_of(answer.begin(), answer.end(), is_digit)) found.push_back({at, end, answer});
    }
    at = next;
  }
}

// Nothing said between two answers, or only words that set them side by side.
bool side_by_side(std::string_view between) {
  static constexpr std::array<std::string_view, 13> kWords{"or",   "and",    "maybe",        "perhaps", "possibly",
                                                           "also", "either", "quad",         "qquad",   "text",
                                                           "else", "even",   "alternatively"};
  if (between.size() > kMaxBetween) return false;
  for (size_t i = 0; i < between.size();) {
    if (is_digit(between[i])) return false;
    if (!is_letter(between[i])) {
      i++;
      continue;
    }
    std::string word;
    for (; i < between.size() && is_letter(between[i]); i++) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(between[i])));
    }
    if (std::find(kWords.begin(), kWords.end(), word) == kWords.end()) return false;
  }
  return true;
}

bool goes_on_with_or(std::string_view tail) {
  size_t i = tail.find_first_not_of(" $*.,)\\}");
  return i != std::string_view::npos && tail.substr(i, 3) == "or ";
}

}  // namespace

std::optional<std::string_view> without_reasoning(std::string_view response) {
  size_t close = response.rfind(kEndThink), open = response.rfind(kThink);
  if (open != std::string_view::npos && (close == std::string_view::npos || open > close)) return std::nullopt;
  return close == std::string_view::npos ? response : response.substr(close + kEndThink.size());
}

std::vector<FoundAnswer> find_answers(std::string_view text) {
  std::vector<FoundAnswer> boxes, found;
  find_hashes(text, found);
  find_boxes(text, boxes);
  size_t hashes = found.size(), h = 0;
  for (const FoundAnswer& b : boxes) {  // a box on a #### line is that line's answer
    while (h < hashes && found[h].end <= b.begin) h++;
    if (h == hashes || b.begin < found[h].begin) found.push_back(b);
  }
  std::sort(found.begin(), found.end(), [](const FoundAnswer& a, const FoundAnswer& b) { return a.begin < b.begin; });
  return found;
}

std::vector<FoundAnswer> final_answers(std::string_view text, bool& hedged) {
  std::vector<FoundAnswer> found = find_answers(text);
  hedged = false;
  if (found.empty()) return found;
  size_t first = found.size() - 1;
  while (first > 0) {
    size_t from = found[first - 1].end, to = found[first].begin;
    if (from > to || !side_by_side(text.substr(from, to - from))) break;
    first--;
  }
  found.erase(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(first));
  hedged = goes_on_with_or(text.substr(found.back().end));
  return found;
}

}  // namespace fulmen::reward
