#include "shared/collective/roll_call.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "kernels/error.h"
#include "shared/base/file.h"

namespace fulmen::collective {
namespace {

std::string ranks_text(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); i++) text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
  return text;
}

}  // namespace

RollCall::RollCall(const std::string& directory, const std::string& epoch, int rank, int size)
    : prefix_(directory + "/" + epoch + ".rank."), rank_(rank), size_(size) {
  base::make_directories(directory);
  fd_ = open(path(rank).c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  FULMEN_CHECK(fd_ >= 0, fmt::format("collective: rank {}: {}: {} (is the epoch used twice?)", rank, path(rank),
                                     strerror(errno)));
  flock(fd_, LOCK_EX | LOCK_NB);
  calls_ = static_cast<uint64_t>(-1);
  begin_call();
}

RollCall::~RollCall() { close(fd_); }  // the file stays: a rank that left is not a rank that never came

std::string RollCall::path(int rank) const { return prefix_ + std::to_string(rank); }

void RollCall::wait_for_all(int timeout_ms, const std::function<void()>& while_waiting) const {
  auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    std::vector<int> missing;
    for (int r = 0; r < size_; r++) {
      if (access(path(r).c_str(), F_OK) != 0) missing.push_back(r);
    }
    if (missing.empty()) return;
    FULMEN_CHECK(std::chrono::steady_clock::now() < deadline,
                 fmt::format("collective: {} of {} did not come within {} ms (looked for {}N)", ranks_text(missing),
                             size_, timeout_ms, prefix_));
    if (while_waiting) while_waiting();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void RollCall::wait_for_call(int rank) const {
  const int fd = open(path(rank).c_str(), O_RDONLY | O_CLOEXEC);
  bool gone = fd < 0;
  while (!gone) {
    uint64_t calls = 0;
    if (pread(fd, &calls, sizeof calls, 0) == sizeof calls && calls > calls_) break;
    gone = flock(fd, LOCK_SH | LOCK_NB) == 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (fd >= 0) close(fd);
  FULMEN_CHECK(!gone, fmt::format("collective: rank {}: rank {} is gone", rank_, rank));
}

void RollCall::begin_call() {
  calls_++;
  if (pwrite(fd_, &calls_, sizeof calls_, 0) != sizeof calls_) {
    throw Error(fmt::format("collective: rank {}: {}: {}", rank_, path(rank_), strerror(errno)));
  }
}

std::string RollCall::gone() const { return absent(false); }

std::string RollCall::absent(bool or_late) const {
  std::vector<int> dead, late;
  for (int r = 0; r < size_; r++) {
    if (r == rank_) continue;
    int fd = open(path(r).c_str(), O_RDONLY | O_CLOEXEC);
    uint64_t calls = 0;
    bool readable = fd >= 0 && pread(fd, &calls, sizeof calls, 0) == sizeof calls;
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0) {  // shared: two who ask at once do not see each other
      dead.push_back(r);
    } else if (readable && calls < calls_) {
      late.push_back(r);
    }
    if (fd >= 0) close(fd);
  }
  if (!dead.empty()) return ranks_text(dead) + (dead.size() == 1 ? " is gone" : " are gone");
  if (or_late && !late.empty()) return fmt::format("{} did not come to call {}", ranks_text(late), calls_);
  return "";
}

// A dying process closes its sockets a moment before its lock: it looks late, or even there, for that long.
std::string RollCall::suspects() const {
  std::string found;
  for (int tries = 0; tries < 20; ++tries) {
    found = absent(true);
    if (found.find("gone") != std::string::npos) return found;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return found.empty() ? "all ranks are there" : found;
}

}  // namespace fulmen::collective
