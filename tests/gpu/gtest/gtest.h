#pragma once
// As much of GoogleTest as the tests of kernels/cuda use, for GPU machines that have none.

#include <cmath>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

namespace testing {

class AssertionResult {
 public:
  explicit AssertionResult(bool ok) : ok_(ok) {}
  template <class T>
  AssertionResult& operator<<(const T& x) {
    std::ostringstream s;
    s << x;
    text_ += s.str();
    return *this;
  }
  explicit operator bool() const { return ok_; }
  const std::string& text() const { return text_; }

 private:
  bool ok_;
  std::string text_;
};
inline AssertionResult AssertionSuccess() { return AssertionResult(true); }
inline AssertionResult AssertionFailure() { return AssertionResult(false); }

struct Case {
  const char *suite, *name;
  void (*run)();
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline int failures = 0;  // of the case that runs

struct Register {
  Register(const char* suite, const char* name, void (*run)()) { cases().push_back({suite, name, run}); }
};

// Collects what is streamed into a failed check and prints it at the end of the statement.
class Report {
 public:
  Report(const char* file, int line, std::string what) : text_(what) {
    ++failures;
    text_ = std::string(file) + ":" + std::to_string(line) + ": " + text_ + " ";
  }
  ~Report() {
    if (failures <= 20) std::fprintf(stderr, "%s\n", text_.c_str());
  }
  template <class T>
  Report& operator<<(const T& x) {
    std::ostringstream s;
    s << x;
    text_ += s.str();
    return *this;
  }

 private:
  std::string text_;
};

class Test {  // of fixtures
 public:
  virtual ~Test() = default;
};

struct Nothing {
  void operator=(const Report&) const {}
};

inline AssertionResult truth(bool b) { return AssertionResult(b); }
inline AssertionResult truth(const AssertionResult& r) { return r; }

}  // namespace testing

#define FULMEN_CHECK_(ok, what) \
  if (const ::testing::AssertionResult fulmen_result = ::testing::truth(ok)) \
    ;                                                                        \
  else                                                                       \
    ::testing::Report(__FILE__, __LINE__, std::string(what) + " " + fulmen_result.text())
#define FULMEN_ASSERT_(ok, what) \
  if (const ::testing::AssertionResult fulmen_result = ::testing::truth(ok)) \
    ;                                                                        \
  else                                                                       \
    return ::testing::Nothing() = ::testing::Report(__FILE__, __LINE__, std::string(what) + " " + fulmen_result.text())
#define TEST(suite, name)                                                               \
  static void suite##_##name();                                                         \
  static const ::testing::Register suite##_##name##_registered(#suite, #name, suite##_##name); \
  static void suite##_##name()
#define TEST_F(fixture, name)                                                                    \
  struct fixture##_##name : fixture {                                                            \
    void body();                                                                                 \
    static void run() { fixture##_##name().body(); }                                             \
  };                                                                                             \
  static const ::testing::Register fixture##_##name##_registered(#fixture, #name, fixture##_##name::run); \
  void fixture##_##name::body()
#define EXPECT_TRUE(x) FULMEN_CHECK_(x, #x)
#define EXPECT_FALSE(x) FULMEN_CHECK_(!(x), "not " #x)
#define EXPECT_EQ(a, b) FULMEN_CHECK_((a) == (b), #a " == " #b)
#define EXPECT_NE(a, b) FULMEN_CHECK_((a) != (b), #a " != " #b)
#define EXPECT_LE(a, b) FULMEN_CHECK_((a) <= (b), #a " <= " #b)
#define EXPECT_GE(a, b) FULMEN_CHECK_((a) >= (b), #a " >= " #b)
#define EXPECT_GT(a, b) FULMEN_CHECK_((a) > (b), #a " > " #b)
#define EXPECT_NEAR(a, b, e) FULMEN_CHECK_(std::fabs((a) - (b)) <= (e), #a " near " #b)
#define ASSERT_TRUE(x) FULMEN_ASSERT_(x, #x)
#define ASSERT_EQ(a, b) FULMEN_ASSERT_((a) == (b), #a " == " #b)
#define ASSERT_NEAR(a, b, e) FULMEN_ASSERT_(std::fabs((a) - (b)) <= (e), #a " near " #b)
#define ADD_FAILURE() FULMEN_CHECK_(false, "failure")
#define FAIL() FULMEN_ASSERT_(false, "reached what must not be reached")
