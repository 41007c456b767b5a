#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "kernels/error.h"
#include "shared/base/file.h"

namespace fulmen::base {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "fulmen_file_" + std::to_string(::getpid());
    make_directories(dir_);
  }
  void TearDown() override { remove_all(dir_); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()));
  }
  std::string dir_;
};

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST_F(FileTest, WrittenBytesAreReadBackWholeAndMapped) {
  const std::string path = dir_ + "/a", bytes("one\0two\n", 8);
  write_file_atomic(path, bytes);
  EXPECT_EQ(read_file(path), bytes);
  const MappedFile mapped(path);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(mapped.data()), mapped.size()), bytes);
  EXPECT_EQ(entries(), 1u);  // no temporary file stays
}

TEST_F(FileTest, EmptyFileMapsToNothing) {
  write_file_atomic(dir_ + "/empty", "");
  EXPECT_EQ(MappedFile(dir_ + "/empty").size(), 0u);
}

TEST_F(FileTest, WriterWithoutCommitLeavesTheOldFileAndNothingElse) {
  write_file_atomic(dir_ + "/a", "old");
  {
    FileWriter writer(dir_ + "/a");
    writer.write("new", 3);
    EXPECT_EQ(writer.size(), 3u);
  }
  EXPECT_EQ(read_file(dir_ + "/a"), "old");
  EXPECT_EQ(entries(), 1u);
}

// A limit on the file size stands for a full disk: the write comes back short.
TEST_F(FileTest, ShortWriteNamesThePathAndKeepsTheOldFile) {
  write_file_atomic(dir_ + "/a", "old");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{4096, before.rlim_max};
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = error_of([&] { write_file_atomic(dir_ + "/a", std::string(10000, 'x')); });
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, previous);
  EXPECT_NE(message.find(dir_ + "/a"), std::string::npos) << message;
  EXPECT_NE(message.find("10000 bytes"), std::string::npos) << message;
  EXPECT_EQ(read_file(dir_ + "/a"), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, MissingFileIsNamedWithTheReason) {
  for (const std::string& message :
       {error_of([&] { read_file(dir_ + "/none"); }), error_of([&] { MappedFile mapped(dir_ + "/none"); })}) {
    EXPECT_NE(message.find(dir_ + "/none"), std::string::npos) << message;
    EXPECT_NE(message.find("No such file"), std::string::npos) << message;
  }
  EXPECT_NE(error_of([&] { read_file(dir_); }).find("directory"), std::string::npos);
  EXPECT_NE(error_of([&] { write_file_atomic(dir_ + "/no/such/a", "x"); }).find("No such file"), std::string::npos);
}

// The XXH3 values of empty input, from the xxHash specification.
TEST(Digest, HasTheCanonicalByteOrder) {
  EXPECT_EQ(hex(digest128("", 0)), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(digest64("", 0), 0x2d06800538d394c2u);
}

TEST(Digest, ChangesWithEveryByteAndTheSeed) {
  const std::string a = "weights", b = "weightz";
  EXPECT_NE(digest128(a.data(), a.size()), digest128(b.data(), b.size()));
  EXPECT_NE(digest64(a.data(), a.size(), 1), digest64(a.data(), a.size(), 2));
}

}  // namespace
}  // namespace fulmen::base
