#include "reward/code/extract_code.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace fulmen::reward {
namespace {

struct Block {
  std::string tag;
  std::string_view content;
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// The fence at the start of a line and what follows it: length of the run of backticks, and its info word.
size_t fence_at(std::string_view line, std::string& tag) {
  size_t at = 0;
  while (at < line.size() && at < 8 && (line[at] == ' ' || line[at] == '\t')) at++;
  size_t ticks = 0;
  while (at + ticks < line.size() && line[at + ticks] == '`') ticks++;
  if (ticks < 3) return 0;
  std::string_view rest = line.substr(at + ticks);
  if (rest.find('`') != std::string_view::npos) return 0;  // inline code
  while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest.front()))) rest.remove_prefix(1);
  size_t end = 0;
  while (end < rest.size() && !std::isspace(static_cast<unsigned char>(rest[end])) && rest[end] != '{') end++;
  tag = lower(rest.substr(0, end));
  return ticks;
}

std::vector<Block> find_blocks(std::string_view text) {
  std::vector<Block> blocks;
  size_t open = 0;  // backticks of the open fence; 0: none is open
  size_t begin = 0;
  std::string tag, open_tag;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const size_t ticks = fence_at(text.substr(at, end - at), tag);
    const size_t next = std::min(end + 1, text.size());
    if (open == 0 && ticks > 0) {
      open = ticks;
      open_tag = tag;
      begin = next;
    } else if (open > 0 && ticks >= open && tag.empty()) {
      blocks.push_back({open_tag, text.substr(begin, at - begin)});
      open = 0;
    }
    at = next;
    if (end == text.size()) break;
  }
  if (open > 0) blocks.push_back({open_tag, text.substr(begin)});
  return blocks;
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

std::string extract_code(std::string_view response, const std::string& language) {
  const auto blocks = find_blocks(response);
  const Block* best = last_where(blocks, [&](const Block& b) { return language_name(b.tag) == language; });
  if (!best) best = last_where(blocks, [](const Block& b) { return b.tag.empty(); });
  if (!best && !blocks.empty()) best = &blocks.back();
  const std::string_view code = best ? best->content : response;
  return is_blank(code) ? "" : std::string(code);
}

std::string extract_patch(std::string_view response) {
  const auto blocks = find_blocks(response);
  const Block* best = last_where(blocks, [](const Block& b) { return b.tag == "diff" || b.tag == "patch"; });
  return best ? std::string(best->content) : extract_code(response, "diff");
}

}  // namespace fulmen::reward
