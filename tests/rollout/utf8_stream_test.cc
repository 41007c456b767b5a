#include "rollout/utf8_stream.h"

#include <gtest/gtest.h>

namespace fulmen::rollout {
namespace {

TEST(Utf8Stream, WholeTextComesOutHoweverItIsCut) {
  const std::string text = "a\xC3\xA9z \xE2\x82\xAC \xF0\x9F\x98\x80 end";
  for (size_t first = 0; first <= text.size(); ++first) {
    for (size_t second = first; second <= text.size(); ++second) {
      Utf8Stream s;
      std::string got = s.push(text.substr(0, first));
      got += s.push(text.substr(first, second - first));
      got += s.push(text.substr(second));
      EXPECT_EQ(got, text);
      EXPECT_EQ(s.flush(), "");
    }
  }
}

TEST(Utf8Stream, IncompleteCharacterIsHeldBack) {
  Utf8Stream s;
  EXPECT_EQ(s.push("x\xF0\x9F"), "x");
  EXPECT_EQ(s.push("\x98"), "");
  EXPECT_EQ(s.push("\x80y"), "\xF0\x9F\x98\x80y");
  EXPECT_EQ(s.push("\xE2\x82"), "");
  EXPECT_EQ(s.flush(), "\xEF\xBF\xBD");
  EXPECT_EQ(s.flush(), "");
}

TEST(Utf8Stream, ImpossibleBytesAreReplacedAtOnce) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(Utf8Stream().push("a\xFF"), "a" + r);
  EXPECT_EQ(Utf8Stream().push("\x80\x80"), r + r);
  EXPECT_EQ(Utf8Stream().push("\xC0\xAF"), r + r) << "overlong";
  EXPECT_EQ(Utf8Stream().push("\xED\xA0\x80"), r + r + r) << "surrogate";
  EXPECT_EQ(Utf8Stream().push("\xE2\x82z"), r + "z") << "cut by another character";
  EXPECT_EQ(Utf8Stream().push("\xF4\x90"), r + r) << "above U+10FFFF";
}

}  // namespace
}  // namespace fulmen::rollout
