#pragma once
// What the targets have in common: promises, refusals, and a file that touches no disk.

#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include "kernels/error.h"

namespace fulmen::fuzz {

inline void promise(bool kept, const std::string& what) {
  if (!kept) throw std::logic_error("broken promise: " + what);
}

// False when `read` refuses, which is an Error of one short line.
template <class F>
bool accepted(F&& read) {
  try {
    read();
    return true;
  } catch (const Error& e) {
    const std::string message = e.what();
    promise(message.find('\n') == std::string::npos, "an error is one line: " + message);
    promise(message.size() < 4000, "an error is short: " + message.substr(0, 200));
    return false;
  }
}

class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    promise(fd_ >= 0 && ::write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "memfd works");
  }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace fulmen::fuzz
