#pragma once
// The one exception type of the program. A message says what, got, want, where. Header-only: every folder may use it.

#include <stdexcept>
#include <string>

namespace fulmen {

class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace fulmen

// `what` is evaluated only on failure. Stays on in release builds.
#define FULMEN_CHECK(cond, what)               \
  do {                                         \
    if (!(cond)) throw ::fulmen::Error(what);  \
  } while (0)
