#pragma once
// What tests of real jails share. Where the kernel forbids namespaces they skip, and say why.

#include <gtest/gtest.h>

#include <string>

#include "sandboxes/profile.h"
#include "sandboxes/sandbox_doctor.h"
#include "sandboxes/slot.h"

namespace fulmen::sandboxes {

inline Profile profile_of(const std::string& language) { return load_profiles({}).at(language); }

inline const std::string& no_isolation_here() {
  static const std::string problem = isolation_problem(profile_of("shell"));
  return problem;
}

#define NEEDS_ISOLATION() \
  if (!no_isolation_here().empty()) GTEST_SKIP() << "no namespaces on this machine: " << no_isolation_here()

inline SlotOptions options_of(CgroupMode mode = CgroupMode::kAuto) {
  return {FULMEN_BINARY_DIR "/libfulmen_jail.so", mode};
}

inline Profile cold(Profile p) {
  p.warm.clear();
  return p;
}

// A Python program as a file, by an interpreter of its own.
inline RunRequest python_file(const std::string& code, const std::string& input = "") {
  return {profile_of("python").run, "", input, {{"program.py", code, false}}, ""};
}

inline Limits small_limits() {
  Limits l = profile_of("python").limits;
  l.cpu_s = 1;
  l.memory_mb = 128;
  l.files_mb = 16;
  l.output_mb = 1;
  return l;
}

}  // namespace fulmen::sandboxes
