#pragma once
// `fulmen-sandbox doctor`: which isolation works here, tried and not guessed; what is missing and what to do about it.

#include "sandboxes/slot.h"

namespace fulmen::sandboxes {

// Prints; returns 0 when untrusted programs can be run, else 1.
int run_doctor(const std::map<std::string, Profile>& profiles, const SlotOptions& options);

// Why no isolated program can be run here, or "".
std::string isolation_problem(const Profile& profile);

}  // namespace fulmen::sandboxes
