#include "shared/wire/weight_image.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "kernels/error.h"
#include "shared/base/log.h"

namespace fulmen::wire {
namespace {

std::string system_text() { return strerror(errno); }

int open_name(const std::string& name, bool file, int flags) {
  return file ? open(name.c_str(), flags | O_CLOEXEC, 0644) : shm_open(name.c_str(), flags | O_CLOEXEC, 0600);
}

void unlink_name(const std::string& name, bool file) { file ? unlink(name.c_str()) : shm_unlink(name.c_str()); }

const char* kind_text(bool file) { return file ? "file" : "shared memory"; }

// True when it is gone: it was not there, or its owner is dead (nobody holds its lock).
bool unlink_if_abandoned(const std::string& name, bool file) {
  const int fd = open_name(name, file, O_RDONLY);
  if (fd < 0) return errno == ENOENT;
  const bool abandoned = flock(fd, LOCK_SH | LOCK_NB) == 0;  // shared: two who ask at once do not see each other
  if (abandoned) unlink_name(name, file);
  close(fd);
  return abandoned;
}

// The lock tells other processes that its owner lives; what is there without one is replaced.
int create(const std::string& name, bool file) {
  for (int attempt = 0; attempt < 10; attempt++) {
    const int fd = open_name(name, file, O_CREAT | O_EXCL | O_RDWR);
    if (fd >= 0) {
      struct stat st {};
      if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0) return fd;
      close(fd);  // a sweep of another run took it between the two calls
      continue;
    }
    FULMEN_CHECK(errno == EEXIST, fmt::format("weights: {} {}: {}", kind_text(file), name, system_text()));
    FULMEN_CHECK(unlink_if_abandoned(name, file),
                 fmt::format("weights: {} {} is in use by another process", kind_text(file), name));
  }
  throw Error(fmt::format("weights: {} {} is taken away as fast as it is made", kind_text(file), name));
}

}  // namespace

WeightImage WeightImage::in_memory(uint64_t bytes) {
  WeightImage image({}, false, bytes);
  image.map(MAP_PRIVATE | MAP_ANONYMOUS);
  return image;
}

WeightImage WeightImage::in_shared_memory(const std::string& name, uint64_t bytes) {
  WeightImage image(name, false, bytes);
  image.fd_ = create(name, false);
  image.reserve();
  image.map(MAP_SHARED);
  return image;
}

WeightImage WeightImage::in_file(const std::string& path, uint64_t bytes) {
  WeightImage image(path, true, bytes);
  image.header_ = kFileHeader;
  const std::filesystem::path p(path);
  image.beside_ = (p.parent_path() / (std::string(kFilePrefix) + "unfinished-" + p.filename().string())).string();
  image.fd_ = create(image.beside_, true);
  image.reserve();
  image.map(MAP_SHARED);
  return image;
}

WeightImage::WeightImage(WeightImage&& o) noexcept
    : name_(std::move(o.name_)),
      beside_(std::move(o.beside_)),
      file_(o.file_),
      bytes_(o.bytes_),
      header_(o.header_),
      fd_(std::exchange(o.fd_, -1)),
      mapping_(std::exchange(o.mapping_, nullptr)) {}

WeightImage::~WeightImage() { release(); }

void WeightImage::finish_file(uint64_t version, const std::string& root) {
  FileHeader header;
  header.version = version;
  header.bytes = bytes_;
  memcpy(header.root, root.data(), std::min(sizeof header.root, root.size()));
  static_assert(sizeof header <= kFileHeader);
  memcpy(mapping_, &header, sizeof header);
  FULMEN_CHECK(
      msync(mapping_, header_ + bytes_, MS_SYNC) == 0 && fsync(fd_) == 0 && rename(beside_.c_str(), name_.c_str()) == 0,
      fmt::format("weights: file {}: {}", name_, system_text()));
  beside_.clear();
}

// Reserving now gives an error; writing to pages that are not there would be a SIGBUS.
void WeightImage::reserve() {
  const uint64_t bytes = header_ + bytes_;
  int rc = 0;
  do {
    rc = bytes == 0 ? 0 : posix_fallocate(fd_, 0, static_cast<off_t>(bytes));
  } while (rc == EINTR);
  FULMEN_CHECK(rc == 0, fmt::format("weights: no {} bytes of {} for {}: {}", bytes, file_ ? "disk" : "shared memory",
                                    name_, strerror(rc)));
}

void WeightImage::map(int flags) {
  const uint64_t bytes = header_ + bytes_;
  if (bytes == 0) return;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd_, 0);
  FULMEN_CHECK(p != MAP_FAILED, fmt::format("weights: cannot map {} bytes: {}", bytes, system_text()));
  mapping_ = static_cast<uint8_t*>(p);
}

void WeightImage::release() {
  if (mapping_ != nullptr) munmap(mapping_, header_ + bytes_);
  mapping_ = nullptr;
  if (fd_ < 0) return;
  unlink_name(beside_.empty() ? name_ : beside_, file_);
  close(fd_);
  fd_ = -1;
}

void sweep_shared_memory() {
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", ec)) {
    const std::string name = "/" + entry.path().filename().string();
    if (name.rfind(kObjectPrefix, 0) == 0 && unlink_if_abandoned(name, false))
      base::info("weights: removed shared memory {} of a run that was killed", name);
  }
}

void sweep_files(const std::string& directory) {
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ec)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(kFilePrefix, 0) == 0 && name.ends_with(kFileSuffix) &&
        unlink_if_abandoned(entry.path().string(), true))
      base::info("weights: removed {} of a run that was killed", entry.path().string());
  }
}

}  // namespace fulmen::wire
