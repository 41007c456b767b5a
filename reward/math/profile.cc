#include "reward/math/profile.h"

#include <fmt/core.h>

#include <array>

#include "kernels/error.h"
#include "shared/base/config.h"

namespace fulmen::reward::math {
namespace {

Profile strict() {
  Profile p;
  p.name = "strict";
  return p;
}

Profile math_verify() {
  Profile p;
  p.name = "math-verify";
  p.finds_unmarked = p.closes_braces = p.drops_units = p.tuples_as_sets = p.decimal_comma = p.capital_i = true;
  p.repeats_matter = p.relation_for_set = false;
  p.rounding_digits = 6;
  return p;
}

Profile hendrycks() {
  Profile p;
  p.name = "hendrycks";
  p.whole_text = p.drops_percent = p.drops_units = p.ordered_lists = true;
  return p;
}

const std::array<Profile, 3>& profiles() {
  static const std::array<Profile, 3> kProfiles{strict(), math_verify(), hendrycks()};
  return kProfiles;
}

}  // namespace

const Profile& strict_profile() { return profiles()[0]; }

std::vector<std::string> profile_names() {
  std::vector<std::string> names;
  for (const Profile& p : profiles()) names.push_back(p.name);
  return names;
}

const Profile& find_profile(const std::string& name) {
  if (name.empty()) return strict_profile();
  for (const Profile& p : profiles()) {
    if (p.name == name) return p;
  }
  std::string near = base::nearest(name, profile_names());
  throw Error(fmt::format("unknown math profile {}{} (known: strict, math-verify, hendrycks)", name,
                          near.empty() ? "" : ", did you mean " + near));
}

}  // namespace fulmen::reward::math
