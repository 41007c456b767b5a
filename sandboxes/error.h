#pragma once
// What goes wrong outside a jail: a profile that is not one, a kernel that refuses, a supervisor out of descriptors.
// Never the fault of the program under test. The message says what, got, want, where.

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace fulmen::sandboxes {

class SandboxError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void throw_errno(const std::string& what) {
  const int error = errno;
  throw SandboxError(what + ": " + std::strerror(error));
}

}  // namespace fulmen::sandboxes
