#pragma once
// Fields of a puzzle, as records carry them. Records may come from strangers: each reader checks type and bounds and
// throws Error "puzzle: KEY: got ..., want ...". Bounds keep a verifier's work small whatever the record says.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "shared/task/answer.h"

namespace fulmen::task {

constexpr int kMaxSide = 32;        // rows and columns of a grid
constexpr size_t kMaxItems = 1024;  // members of a list

using Json = nlohmann::json;

int int_field(const Json& puzzle, const char* key, int low, int high);
bool bool_field(const Json& puzzle, const char* key, bool otherwise);  // absent: otherwise
std::string text_field(const Json& puzzle, const char* key);           // at most 16 KiB
std::vector<int> int_list(const Json& puzzle, const char* key, int low, int high);
std::vector<std::string> text_list(const Json& puzzle, const char* key);
Numbers number_grid(const Json& puzzle, const char* key, int low, int high);  // rectangular, not empty
Words word_grid(const Json& puzzle, const char* key);                         // rectangular, not empty
const Json& list_field(const Json& puzzle, const char* key);                  // any list of at most kMaxItems
// The list itself (a member of list_field) as integers, exactly n of them.
std::vector<int> int_tuple(const Json& list, const char* key, size_t n, int low, int high);

}  // namespace fulmen::task
