#pragma once
// How every program of Fulmen begins and ends: its words are read, help goes to stdout, and whatever goes wrong is one
// line on stderr.

#include <functional>

namespace CLI {
class App;
}

namespace fulmen::base {

// Parses, runs the callbacks of the verbs, then `body`, whose result is the exit code. 2: the words, a ConfigError;
// 1: any other exception. Call it once, last in main.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body = {});

}  // namespace fulmen::base
