#pragma once
// The verbs of `fulmen`, in the order of its help. The front is small, as git's is: most verbs belong to a tool binary
// beside it, which gets the verb as its first argument; a few are carried out here.

#include <string>
#include <vector>

namespace fulmen::launch {

using Words = std::vector<std::string>;

struct Verb {
  std::string name, group, sentence;
  std::string tool;                    // binary beside the front; empty: carried out here
  bool tool_takes_verb = true;         // false: the tool has this one verb only
  int (*run)(const Words&) = nullptr;  // here: the words after the verb -> exit code
};

// Every verb of the program, whether or not its tool has been built.
const std::vector<Verb>& all_verbs();

// What `fulmen ARGUMENTS` does, without the program name. `directory` holds the tools. Returns the exit code: 0 ok,
// 1 failure, 2 usage or configuration. Does not return when a tool takes over.
int run_front(const Words& arguments, const std::string& directory);

}  // namespace fulmen::launch
