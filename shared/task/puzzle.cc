#include "shared/task/puzzle.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace fulmen::task {
namespace {

[[noreturn]] void refuse(const char* key, const std::string& want) {
  throw Error(fmt::format("puzzle: {}: want {}", key, want));
}

const Json& field(const Json& puzzle, const char* key) {
  if (!puzzle.is_object()) throw Error("puzzle: want an object");
  const auto it = puzzle.find(key);
  if (it == puzzle.end()) refuse(key, "a value, got none");
  return *it;
}

int as_int(const Json& v, const char* key, int low, int high) {
  if (!v.is_number_integer()) refuse(key, "an integer");
  const int64_t x =
      v.is_number_unsigned() && v.get<uint64_t>() > uint64_t{1} << 62 ? int64_t{1} << 62 : v.get<int64_t>();
  if (x < low || x > high) refuse(key, fmt::format("{}..{}, got {}", low, high, x));
  return static_cast<int>(x);
}

std::string as_text(const Json& v, const char* key) {
  if (!v.is_string() || v.get_ref<const std::string&>().size() > kMaxAnswer) refuse(key, "a text of at most 16 KiB");
  return v.get<std::string>();
}

template <class T, class F>
std::vector<std::vector<T>> grid_of(const Json& puzzle, const char* key, F&& read) {
  const Json& rows = list_field(puzzle, key);
  if (rows.empty() || rows.size() > kMaxSide) refuse(key, fmt::format("1..{} rows", kMaxSide));
  std::vector<std::vector<T>> grid;
  for (const Json& row : rows) {
    if (!row.is_array() || row.empty() || row.size() > kMaxSide || row.size() != rows[0].size())
      refuse(key, fmt::format("rows of one length in 1..{}", kMaxSide));
    grid.emplace_back();
    for (const Json& cell : row) grid.back().push_back(read(cell));
  }
  return grid;
}

}  // namespace

int int_field(const Json& puzzle, const char* key, int low, int high) {
  return as_int(field(puzzle, key), key, low, high);
}

bool bool_field(const Json& puzzle, const char* key, bool otherwise) {
  if (!puzzle.is_object() || !puzzle.contains(key)) return otherwise;
  if (!puzzle[key].is_boolean()) refuse(key, "true or false");
  return puzzle[key].get<bool>();
}

std::string text_field(const Json& puzzle, const char* key) { return as_text(field(puzzle, key), key); }

const Json& list_field(const Json& puzzle, const char* key) {
  const Json& list = field(puzzle, key);
  if (!list.is_array() || list.size() > kMaxItems) refuse(key, fmt::format("a list of at most {}", kMaxItems));
  return list;
}

std::vector<int> int_list(const Json& puzzle, const char* key, int low, int high) {
  std::vector<int> out;
  for (const Json& v : list_field(puzzle, key)) out.push_back(as_int(v, key, low, high));
  return out;
}

std::vector<std::string> text_list(const Json& puzzle, const char* key) {
  std::vector<std::string> out;
  for (const Json& v : list_field(puzzle, key)) out.push_back(as_text(v, key));
  return out;
}

Numbers number_grid(const Json& puzzle, const char* key, int low, int high) {
  return grid_of<int>(puzzle, key, [&](const Json& v) { return as_int(v, key, low, high); });
}

Words word_grid(const Json& puzzle, const char* key) {
  return grid_of<std::string>(puzzle, key, [&](const Json& v) { return as_text(v, key); });
}

std::vector<int> int_tuple(const Json& list, const char* key, size_t n, int low, int high) {
  if (!list.is_array() || list.size() != n) refuse(key, fmt::format("lists of {}", n));
  std::vector<int> out;
  for (const Json& v : list) out.push_back(as_int(v, key, low, high));
  return out;
}

}  // namespace fulmen::task
