#include "shared/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY  // the canonical form of a 128-bit hash
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "kernels/error.h"

namespace fulmen::base {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& path, const std::string& doing, int code) {
  throw Error(path + ": cannot " + doing + ": " + std::system_category().message(code));
}

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

void sync_directory_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  const std::string directory = parent.empty() ? "." : parent.string();
  const Descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) fail(directory, "open", errno);
  if (::fsync(fd.get()) != 0 && errno != EINVAL) fail(directory, "sync", errno);  // some file systems have none
}

}  // namespace

std::string read_file(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) fail(path, "open", errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) fail(path, "stat", errno);
  if (S_ISDIR(info.st_mode)) fail(path, "read", EISDIR);
  std::string bytes;
  bytes.reserve(static_cast<size_t>(info.st_size));
  char buffer[1 << 16];
  for (;;) {  // by pieces: pipes and /proc files have no size
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, "read", errno);
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(got));
  }
}

void write_file_atomic(const std::string& path, std::string_view bytes) {
  FileWriter writer(path);
  writer.write(bytes.data(), bytes.size());
  writer.commit();
}

void make_directories(const std::string& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (code) fail(path, "make directory", code.value());
}

void remove_all(const std::string& path) {
  std::error_code code;
  fs::remove_all(path, code);
  if (code) fail(path, "remove", code.value());
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) fail(path, "open", errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) fail(path, "stat", errno);
  if (!S_ISREG(info.st_mode)) throw Error(path + ": cannot map: not a regular file");
  size_ = static_cast<size_t>(info.st_size);
  if (size_ == 0) return;  // mmap refuses length 0
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) fail(path, "map", errno);
  data_ = static_cast<const uint8_t*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), size_);
}

FileWriter::FileWriter(const std::string& path) : path_(path), tmp_(path + ".tmp." + std::to_string(::getpid())) {
  fd_ = ::open(tmp_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail(tmp_, "create", errno);
}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(tmp_.c_str());
}

void FileWriter::write(const void* data, size_t bytes) {
  FULMEN_CHECK(fd_ >= 0, path_ + ": written to after commit");
  const char* next = static_cast<const char*>(data);
  size_t left = bytes;
  while (left > 0) {
    const ssize_t written = ::write(fd_, next, left);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      fail(path_, "write " + std::to_string(bytes) + " bytes at offset " + std::to_string(size_),
           written < 0 ? errno : ENOSPC);
    }
    next += written;
    left -= static_cast<size_t>(written);
    size_ += static_cast<uint64_t>(written);
  }
}

void FileWriter::commit() {
  FULMEN_CHECK(fd_ >= 0, path_ + ": committed twice");
  if (::fsync(fd_) != 0) fail(path_, "sync", errno);
  const int closing = fd_;
  fd_ = -1;  // from here on the destructor has nothing to undo but what follows
  if (::close(closing) != 0) {
    const int code = errno;
    ::unlink(tmp_.c_str());
    fail(path_, "close", code);
  }
  if (::rename(tmp_.c_str(), path_.c_str()) != 0) {
    const int code = errno;
    ::unlink(tmp_.c_str());
    fail(path_, "rename from " + tmp_, code);
  }
  sync_directory_of(path_);
}

Digest digest128(const void* data, size_t bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
  Digest digest;
  static_assert(sizeof canonical.digest == sizeof digest);
  std::memcpy(digest.data(), canonical.digest, sizeof digest);
  return digest;
}

std::string hex(const Digest& d) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : d) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

uint64_t digest64(const void* data, size_t bytes, uint64_t seed) { return XXH3_64bits_withSeed(data, bytes, seed); }

}  // namespace fulmen::base
