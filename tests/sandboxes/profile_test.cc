#include "sandboxes/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sandboxes/error.h"

namespace fulmen::sandboxes {
namespace {

using ::testing::HasSubstr;

std::string error_of(const std::string& yaml) {
  try {
    parse_profile(yaml, "mine.yaml");
  } catch (const SandboxError& e) {
    return e.what();
  }
  return "";
}

constexpr char kGood[] = "{language: x, source: x.x, run: [/bin/x]}";

TEST(SandboxProfile, TheBuiltInOnesAreIsolatedAndHaveLimits) {
  const auto all = load_profiles({});
  EXPECT_EQ(all.size(), 4u);
  for (const auto& [name, p] : all) {
    EXPECT_TRUE(p.isolated) << name;
    EXPECT_GT(p.limits.processes, 0u) << name;
    EXPECT_EQ(p.language, name);
  }
}

TEST(SandboxProfile, MistakesAreNamedWithFileAndKey) {
  EXPECT_EQ(error_of(kGood), "");
  EXPECT_THAT(error_of("{language: x"), HasSubstr("mine.yaml: not YAML"));
  EXPECT_THAT(error_of("{language: x, source: x.x, run: [/bin/x], netwrk: 1}"), HasSubstr("unknown key netwrk"));
  EXPECT_THAT(error_of("{language: x, source: x.x, run: [/bin/x], limits: {cpus: 1}}"), HasSubstr("unknown key cpus"));
  EXPECT_THAT(error_of("{language: x, source: x.x, run: [/bin/x], limits: {cpu_s: -1}}"), HasSubstr("want 0.05"));
  EXPECT_THAT(error_of("{language: x, source: x.x, run: [/bin/x], limits: {cpu_s: fast}}"), HasSubstr("wrong type"));
  EXPECT_THAT(error_of("{language: x, source: ../x, run: [/bin/x]}"), HasSubstr("file names"));
  EXPECT_THAT(error_of("{language: x, source: x.x, run: [/bin/x], read_only: [/]}"), HasSubstr("read_only"));
  EXPECT_THAT(error_of("{language: x, source: x.x, run: [/bin/x], isolation: little}"),
              HasSubstr("namespaces or none"));
  EXPECT_THAT(error_of("{language: x}"), HasSubstr("must be given"));
}

TEST(SandboxProfile, IsolationIsGivenUpOnlyInWords) {
  EXPECT_TRUE(parse_profile(kGood, "").isolated);
  EXPECT_FALSE(parse_profile("{language: x, source: x.x, run: [/bin/x], isolation: none}", "").isolated);
}

TEST(SandboxProfile, AnUnknownLanguageNamesTheKnownOnes) {
  try {
    find_profile(load_profiles({}), "cobol");
    FAIL();
  } catch (const SandboxError& e) {
    EXPECT_STREQ(e.what(), "language: got cobol, want one of c, cpp, python, shell");
  }
}

}  // namespace
}  // namespace fulmen::sandboxes
