#include "sandboxes/serve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tests/sandboxes/jail_fixture.h"

namespace fulmen::sandboxes {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

// What is answered to all that is sent. No threads: a slot needs a process without any.
std::string served(const std::string& sent) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return "socketpair";
  if (write(pair[0], sent.data(), sent.size()) != static_cast<ssize_t>(sent.size())) return "write";
  shutdown(pair[0], SHUT_WR);
  serve(pair[1], pair[1], load_profiles({}), options_of());
  close(pair[1]);
  std::string got;
  char buffer[4096];
  for (ssize_t n; (n = read(pair[0], buffer, sizeof buffer)) > 0;) got.append(buffer, static_cast<size_t>(n));
  close(pair[0]);
  return got;
}

TEST(SandboxServe, RequestsThatAreNoneGetAnError) {
  for (const char* bad :
       {"{", "[]", "{}", R"({"op":"run"})", R"({"op":"dance","sizes":[]})", R"({"op":"run","sizes":[-1]})",
        R"({"op":"run","language":"cobol","sizes":[],"programs":[{}]})",
        R"({"op":"run","language":"shell","sizes":[],"programs":[{}]})",
        R"({"op":"run","language":"shell","sizes":[],"programs":[]})",
        R"({"op":"run","language":"shell","sizes":[],"programs":[{"warm":true}]})",
        R"({"op":"run","language":"python","stage":"compile","sizes":[],"programs":[{}]})",
        R"({"op":"run","language":"shell","limits":{"cpu_s":-1},"sizes":[0],"programs":[{}]})",
        R"({"op":"run","language":"shell","limits":{"speed":1},"sizes":[0],"programs":[{}]})",
        R"({"op":"run","language":"shell","sizes":[99999999999],"programs":[{}]})"}) {
    const std::string got = served(std::string(bad) + "\n");
    EXPECT_TRUE(Json::parse(got).contains("error")) << bad << " -> " << got;
  }
}

TEST(SandboxServe, TellsItsLanguages) {
  EXPECT_THAT(served("{\"op\":\"profiles\",\"sizes\":[]}\n"), HasSubstr(R"("language":"cpp")"));
}

TEST(SandboxServe, BytesPassUnchanged) {
  NEEDS_ISOLATION();
  const std::string bytes("\0\xff\n{}", 5);
  const std::string got = served(R"({"op":"run","language":"shell","argv":["/bin/cat"],"programs":[{}],"sizes":[5]})" +
                                 std::string("\n") + bytes);
  const size_t end = got.find('\n');
  ASSERT_NE(end, std::string::npos);
  EXPECT_EQ(Json::parse(got.substr(0, end))["results"][0]["outcome"], "OK") << got;
  EXPECT_EQ(got.substr(end + 1), bytes);
}

}  // namespace
}  // namespace fulmen::sandboxes
