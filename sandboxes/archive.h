#pragma once
// Files on their way into and out of a jail. One entry: ArchiveEntry, then path_bytes of path (relative, no ".."), then
// size bytes of content. Both sides are on one machine, so integers are as they lie in memory. Uses libc only.

#include <cstdint>

namespace fulmen::sandboxes {

struct ArchiveEntry {
  uint32_t path_bytes;
  uint32_t mode;  // permission bits; kArchiveDirectory for a directory, which has no content
  uint64_t size;
};
constexpr uint32_t kArchiveDirectory = 040000;
constexpr uint32_t kArchivePathMax = 1024;
constexpr int kArchiveDepthMax = 64;

// Below the current directory. False with errno set when something does not fit or a path leaves the directory.
bool unpack_archive(int from);

// A file, or a directory with all files below it; symbolic links and special files are left out, none is followed.
bool pack_archive(const char* path, int to);

}  // namespace fulmen::sandboxes
