// fulmen: the front. Everything is in verbs.cc.

#include <cstdio>
#include <exception>

#include "shared/launch/tool.h"
#include "shared/launch/verbs.h"

int main(int argc, char** argv) {
  try {
    return fulmen::launch::run_front({argv + 1, argv + argc}, fulmen::launch::own_directory());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "fulmen: %s\n", e.what());
    return 1;
  }
}
