#pragma once
// Arguments of the verbs that the front carries out itself: a few positionals, flags and --name VALUE options.

#include <map>
#include <string>
#include <vector>

#include "kernels/error.h"

namespace fulmen::launch {

class UsageError : public Error {  // exit code 2
  using Error::Error;
};

struct Option {
  std::string name, value_name, sentence;  // name with its dashes; value_name empty: a flag
};

struct Usage {
  std::string verb, summary;
  std::vector<std::string> positionals;  // "RUN"; a last one in brackets, "[RUN]", may be left out
  std::vector<Option> options;
};

struct Arguments {
  std::vector<std::string> positionals;
  std::map<std::string, std::string> options;  // flags have an empty value
  bool help = false;                           // --help or -h was given; nothing else was checked then

  bool has(const std::string& name) const { return options.count(name) != 0; }
};

// Throws UsageError naming the word, and the nearest option where one is near.
Arguments parse_arguments(const Usage& usage, const std::vector<std::string>& words);

std::string usage_text(const Usage& usage);

}  // namespace fulmen::launch
