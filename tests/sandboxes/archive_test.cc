#include "sandboxes/archive.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace fulmen::sandboxes {
namespace {

namespace fs = std::filesystem;

class Archive : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/fulmen-archive-XXXXXX";
    directory_ = mkdtemp(name);
    home_ = fs::current_path();
    fs::current_path(directory_);
  }
  void TearDown() override {
    fs::current_path(home_);
    fs::remove_all(directory_);
  }

  static std::string entry(const std::string& path, const std::string& content, uint32_t mode = 0644) {
    const ArchiveEntry e{static_cast<uint32_t>(path.size()), mode, content.size()};
    return std::string(reinterpret_cast<const char*>(&e), sizeof e) + path + content;
  }
  static int file_of(const std::string& bytes) {
    const int fd = memfd_create("archive", MFD_CLOEXEC);
    EXPECT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    lseek(fd, 0, SEEK_SET);
    return fd;
  }
  static bool unpack(const std::string& bytes) {
    const int fd = file_of(bytes);
    const bool good = unpack_archive(fd);
    close(fd);
    return good;
  }

  fs::path directory_, home_;
};

TEST_F(Archive, WhatIsPackedUnpacksTheSame) {
  fs::create_directories("tree/deep/er");
  std::ofstream("tree/a.txt") << "alpha";
  std::ofstream("tree/deep/er/b.bin") << std::string("\0\1\2", 3);
  fs::permissions("tree/a.txt", fs::perms::owner_all);
  const int fd = file_of("");
  ASSERT_TRUE(pack_archive("tree", fd));
  lseek(fd, 0, SEEK_SET);
  fs::create_directory("copy");
  fs::current_path("copy");
  ASSERT_TRUE(unpack_archive(fd));
  close(fd);
  std::ifstream b("tree/deep/er/b.bin");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(b), {}), std::string("\0\1\2", 3));
  EXPECT_EQ(fs::file_size("tree/a.txt"), 5u);
  EXPECT_NE(fs::status("tree/a.txt").permissions() & fs::perms::owner_exec, fs::perms::none);
}

TEST_F(Archive, NoPathLeavesTheDirectory) {
  for (const char* path : {"/tmp/fulmen-escape", "../escape", "a/../../escape", "a//b", "./a", "a/.", ""}) {
    EXPECT_FALSE(unpack(entry(path, "x"))) << path;
  }
  EXPECT_FALSE(fs::exists("/tmp/fulmen-escape"));
  EXPECT_TRUE(unpack(entry("a/b/c..d", "x")));
}

TEST_F(Archive, ATornArchiveIsRefused) {
  const std::string whole = entry("file", "content");
  for (size_t n = 1; n < whole.size(); n++) EXPECT_FALSE(unpack(whole.substr(0, n))) << n;
  EXPECT_TRUE(unpack(whole));
}

TEST_F(Archive, LinksAndSpecialFilesAreNotPacked) {
  fs::create_directory("tree");
  std::ofstream("secret") << "secret";
  fs::create_symlink(directory_ / "secret", "tree/link");
  fs::create_directory_symlink("/", "tree/root");
  ASSERT_EQ(mkfifo("tree/pipe", 0600), 0);
  std::ofstream("tree/plain") << "plain";
  const int fd = file_of("");
  ASSERT_TRUE(pack_archive("tree", fd));
  struct stat s;
  fstat(fd, &s);
  close(fd);
  EXPECT_EQ(static_cast<size_t>(s.st_size), entry("tree", "").size() + entry("tree/plain", "plain").size());
}

}  // namespace
}  // namespace fulmen::sandboxes
