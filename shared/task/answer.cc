#include "shared/task/answer.h"

#include <charconv>

namespace fulmen::task {
namespace {

constexpr std::string_view kOpen = "<answer>", kClose = "</answer>", kThink = "<think>", kEndThink = "</think>";
constexpr std::string_view kSpace = " \t\r\n";

// Without the reasoning; nullopt when it is not closed.
std::optional<std::string_view> without_reasoning(std::string_view response) {
  const size_t open = response.rfind(kThink), close = response.rfind(kEndThink);
  if (open != std::string_view::npos && (close == std::string_view::npos || open > close)) return std::nullopt;
  return close == std::string_view::npos ? response : response.substr(close + kEndThink.size());
}

FinalAnswer none(std::string why) { return {std::nullopt, std::move(why)}; }

FinalAnswer last_if_all_agree(const std::vector<std::string_view>& found, const std::string& what) {
  if (found.empty()) return none("no " + what);
  for (const std::string_view a : found) {
    if (a.size() > kMaxAnswer) return none("an answer longer than " + std::to_string(kMaxAnswer) + " bytes");
    if (a.empty()) return none("an empty answer");
  }
  for (const std::string_view a : found)
    if (!same_text(a, found.back())) return none("several different answers");
  return {found.back(), ""};
}

template <class F>
std::vector<std::string_view> split(std::string_view s, F&& is_separator) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  for (size_t i = 0; i <= s.size(); ++i) {
    if (i < s.size() && !is_separator(s[i])) continue;
    if (i > begin) out.push_back(s.substr(begin, i - begin));
    begin = i + 1;
  }
  return out;
}

// Without a code fence around all of it: only dress here, between the tags.
std::string_view unfenced(std::string_view s) {
  constexpr std::string_view kFence = "```";
  const size_t line = s.find('\n');
  if (s.size() < 2 * kFence.size() || !s.starts_with(kFence) || !s.ends_with(kFence) || line == std::string_view::npos)
    return s;
  s.remove_suffix(kFence.size());
  const std::string_view inside = line + 1 < s.size() ? trimmed(s.substr(line + 1)) : std::string_view();
  return inside.find(kFence) == std::string_view::npos ? inside : s;
}

}  // namespace

FinalAnswer final_answer(std::string_view response) {
  const auto rest = without_reasoning(response);
  if (!rest) return none("the reasoning is not closed");
  std::vector<std::string_view> found;
  size_t at = 0;
  for (;;) {
    const size_t open = rest->find(kOpen, at), stray = rest->find(kClose, at);
    if (open == std::string_view::npos) {
      if (stray != std::string_view::npos) return none("</answer> without <answer>");
      break;
    }
    if (stray < open) return none("</answer> without <answer>");
    const size_t begin = open + kOpen.size();
    if (stray == std::string_view::npos) return none("<answer> is not closed");
    if (rest->substr(begin, stray - begin).find(kOpen) != std::string_view::npos)
      return none("<answer> is opened inside another");
    found.push_back(unfenced(trimmed(rest->substr(begin, stray - begin))));
    at = stray + kClose.size();
  }
  return last_if_all_agree(found, "<answer>");
}

FinalAnswer answer_after_hashes(std::string_view response) {
  const auto rest = without_reasoning(response);
  if (!rest) return none("the reasoning is not closed");
  std::vector<std::string_view> found;
  for (size_t at = rest->find("####"); at != std::string_view::npos; at = rest->find("####", at + 4)) {
    const size_t end = std::min(rest->find('\n', at), rest->size());
    found.push_back(trimmed(rest->substr(at + 4, end - at - 4)));
  }
  return last_if_all_agree(found, "####");
}

std::string_view trimmed(std::string_view s) {
  const size_t begin = s.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return s.substr(begin, s.find_last_not_of(kSpace) - begin + 1);
}

std::string folded(std::string_view s) {
  std::string out;
  for (const char c : trimmed(s)) {
    if (kSpace.find(c) != std::string_view::npos) {
      if (out.back() != ' ') out += ' ';
    } else {
      out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
  }
  return out;
}

std::string without_blanks(std::string_view s) {
  std::string out;
  for (const char c : s)
    if (c != ' ' && c != '\t' && c != '\n' && c != '\r') out += c;
  return out;
}

bool same_text(std::string_view a, std::string_view b) {
  const auto words = [](std::string_view s) {
    return split(trimmed(s), [](char c) { return kSpace.find(c) != std::string_view::npos; });
  };
  return words(a) == words(b);
}

std::vector<std::string> pieces(std::string_view s) {
  std::vector<std::string> out;
  for (const std::string_view p :
       split(s, [](char c) { return std::string_view(" \t\r\n,;[](){}\"'|").find(c) != std::string_view::npos; }))
    out.emplace_back(p);
  return out;
}

std::vector<std::string> list_items(std::string_view s) {
  std::vector<std::string> out;
  for (const std::string_view p : split(s, [](char c) { return c == ',' || c == ';' || c == '\n'; })) {
    std::string item = folded(p);
    if (!item.empty()) out.push_back(std::move(item));
  }
  return out;
}

std::optional<int64_t> integer(std::string_view s) {
  if (s.size() > 1 && s[0] == '+' && s[1] != '-') s.remove_prefix(1);  // from_chars takes a minus only
  if (s.size() > 19) return std::nullopt;
  int64_t value = 0;
  const auto [end, code] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (code != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return value;
}

std::optional<std::vector<int>> integers(std::string_view s) {
  std::vector<int> out;
  for (const std::string& p : pieces(s)) {
    const auto value = integer(p);
    if (!value || *value > 999'999'999 || *value < -999'999'999) return std::nullopt;
    out.push_back(static_cast<int>(*value));
  }
  return out;
}

std::optional<Words> read_grid(std::string_view s, size_t rows, size_t columns) {
  const std::vector<std::string> cells = pieces(s);
  Words grid(rows);
  if (cells.size() == rows * columns) {
    for (size_t i = 0; i < cells.size(); ++i) grid[i / columns].push_back(cells[i]);
    return grid;
  }
  if (cells.size() != rows) return std::nullopt;
  for (size_t r = 0; r < rows; ++r) {
    if (cells[r].size() != columns) return std::nullopt;
    for (const char c : cells[r]) grid[r].push_back(std::string(1, c));
  }
  return grid;
}

std::optional<Numbers> read_number_grid(std::string_view s, size_t rows, size_t columns) {
  const auto words = read_grid(s, rows, columns);
  if (!words) return std::nullopt;
  Numbers grid(rows);
  for (size_t r = 0; r < rows; ++r) {
    for (const std::string& w : (*words)[r]) {
      const auto value = integer(w);
      if (!value || *value > 999'999'999 || *value < -999'999'999) return std::nullopt;
      grid[r].push_back(static_cast<int>(*value));
    }
  }
  return grid;
}

std::string join(const std::vector<std::string>& items, const std::string& separator) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) text += (i == 0 ? "" : separator) + items[i];
  return text;
}

std::string grid_text(const Words& grid) {
  std::vector<std::string> rows;
  for (const auto& row : grid) rows.push_back(join(row, " "));
  return join(rows, "\n");
}

std::string grid_text(const Numbers& grid) {
  Words words;
  for (const auto& row : grid) {
    words.emplace_back();
    for (const int v : row) words.back().push_back(v == 0 ? "." : std::to_string(v));
  }
  return grid_text(words);
}

}  // namespace fulmen::task
