#pragma once
// Words the generators speak with. Their order is part of every problem's identity: add at the end, change nothing.

#include <string>
#include <vector>

namespace fulmen::task {

const std::vector<std::string>& english_words();  // lower case, 3 to 9 letters, all different
const std::vector<std::string>& people();         // first names
const std::vector<std::string>& colours();
const std::vector<std::string>& things();  // nouns that one can hold, singular
const std::vector<std::string>& places();  // "library", with "the" before it

}  // namespace fulmen::task
