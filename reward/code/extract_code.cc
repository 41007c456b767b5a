#include "reward/code/extract_code.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace fulmen::reward {
namespace {

struct Block {
  std::string tag;
  std::string_view content;
  size_t indent = 0;  // of its fence
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

struct Fence {
  char mark = 0;  // ` or ~; 0: the line is no fence
  size_t length = 0, indent = 0;
  std::string tag;
};

// The fence at the start of a line and its info word.
Fence fence_at(std::string_view line) {
  Fence f;
  while (f.indent < line.size() && f.indent < 8 && (line[f.indent] == ' ' || line[f.indent] == '\t')) f.indent++;
  const char mark = f.indent < line.size() ? line[f.indent] : '\0';
  if (mark != '`' && mark != '~') return {};
  while (f.indent + f.length < line.size() && line[f.indent + f.length] == mark) f.length++;
  if (f.length < 3) return {};
  std::string_view rest = line.substr(f.indent + f.length);
  if (rest.find('`') != std::string_view::npos) return {};  // inline code
  while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest.front()))) rest.remove_prefix(1);
  size_t end = 0;
  while (end < rest.size() && !std::isspace(static_cast<unsigned char>(rest[end])) && rest[end] != '{') end++;
  f.tag = lower(rest.substr(0, end));
  f.mark = mark;
  return f;
}

std::vector<Block> find_blocks(std::string_view text) {
  std::vector<Block> blocks;
  Fence open;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const Fence f = fence_at(text.substr(at, end - at));
    const size_t next = std::min(end + 1, text.size());
    if (open.mark == 0 && f.mark != 0) {
      open = f;
      begin = next;
    } else if (open.mark != 0 && f.mark == open.mark && f.length >= open.length && f.tag.empty()) {
      blocks.push_back({open.tag, text.substr(begin, at - begin), open.indent});
      open = {};
    }
    at = next;
    if (end == text.size()) break;
  }
  if (open.mark != 0) blocks.push_back({open.tag, text.substr(begin), open.indent});
  return blocks;
}

// Its lines without the indentation of the fence, which is that of a list item.
std::string text_of(const Block& b) {
  if (b.indent == 0) return std::string(b.content);
  std::string out;
  size_t skip = b.indent;
  for (const char c : b.content) {
    if (skip > 0 && (c == ' ' || c == '\t')) {
      skip--;
      continue;
    }
    out += c;
    skip = c == '\n' ? b.indent : 0;
  }
  return out;
}

bool is_blank(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isspace(c); });
}

template <class Wanted>
const Block* last_where(const std::vector<Block>& blocks, Wanted wanted) {
  auto at = std::find_if(blocks.rbegin(), blocks.rend(), wanted);
  return at == blocks.rend() ? nullptr : &*at;
}

}  // namespace

std::string language_name(std::string_view word) {
  const std::string w = lower(word);
  if (w == "py" || w == "python3" || w == "python2") return "python";
  if (w == "c++" || w == "cc" || w == "cxx" || w == "cpp17" || w == "cpp20") return "cpp";
  if (w == "sh" || w == "bash" || w == "zsh") return "shell";
  return w;
}

namespace {

// Whether the block defines `name`: def f, class Solution; an assignment counts too.
bool defines(const Block& b, std::string_view name) {
  for (size_t at = b.content.find(name); at != std::string_view::npos; at = b.content.find(name, at + 1)) {
    const size_t begin = b.content.find_last_of('\n', at) + 1;  // npos + 1 is 0
    std::string_view before = b.content.substr(begin, at - begin);
    const size_t end = at + name.size();
    const bool whole =
        end == b.content.size() || (!std::isalnum(static_cast<unsigned char>(b.content[end])) && b.content[end] != '_');
    if (whole && (before.ends_with("def ") || before.ends_with("class ") ||
                  (before.empty() && b.content.substr(end).starts_with(" ="))))
      return true;
  }
  return false;
}

std::string_view inside_answer_tags(std::string_view response) {
  constexpr std::string_view kOpen = "<answer>", kClose = "</answer>";
  const size_t close = response.rfind(kClose);
  const size_t open = close == std::string_view::npos ? close : response.rfind(kOpen, close);
  return open == std::string_view::npos ? response : response.substr(open + kOpen.size(), close - open - kOpen.size());
}

}  // namespace

std::string name_under_test(const std::vector<std::string>& asserts) {
  static constexpr std::string_view kWrappers[] = {"set", "sorted", "list",  "tuple",   "abs", "round", "len",
                                                   "str", "int",    "float", "isclose", "not", "sum",   "max",
                                                   "min", "dict",   "type",  "all",     "any", "bool",  "isinstance"};
  auto part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  const std::string_view text = asserts.empty() ? std::string_view() : asserts.front();
  for (size_t open = text.find('('); open != std::string_view::npos; open = text.find('(', open + 1)) {
    size_t begin = open;
    while (begin > 0 && part(text[begin - 1])) begin--;
    const std::string_view name = text.substr(begin, open - begin);
    const bool method = begin > 0 && text[begin - 1] == '.';
    if (name.empty() || method || name == "assert" || name == "and" || name == "or" || name == "in") continue;
    if (std::find(std::begin(kWrappers), std::end(kWrappers), name) == std::end(kWrappers)) return std::string(name);
  }
  return "";
}

std::string extract_code(std::string_view response, const std::string& language, const std::string& entry) {
  const auto blocks = find_blocks(response);
  const auto in_language = [&](const Block& b) { return language_name(b.tag) == language; };
  const auto untagged = [](const Block& b) { return b.tag.empty(); };
  const Block* best = nullptr;
  const std::string name = entry.substr(0, entry.find_first_of(".("));
  // A later block often shows how the function is used.
  if (!name.empty()) best = last_where(blocks, [&](const Block& b) { return in_language(b) && defines(b, name); });
  if (!best) best = last_where(blocks, in_language);
  if (!best && !name.empty())
    best = last_where(blocks, [&](const Block& b) { return untagged(b) && defines(b, name); });
  if (!best) best = last_where(blocks, untagged);
  if (!best && !blocks.empty()) best = &blocks.back();
  std::string code = best ? text_of(*best) : std::string(inside_answer_tags(response));
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (code.starts_with(kByteOrderMark)) code.erase(0, kByteOrderMark.size());
  return is_blank(code) ? "" : code;
}

std::string extract_patch(std::string_view response) {
  const auto blocks = find_blocks(response);
  const Block* best = last_where(blocks, [](const Block& b) { return b.tag == "diff" || b.tag == "patch"; });
  return best ? text_of(*best) : extract_code(response, "diff");
}

}  // namespace fulmen::reward
