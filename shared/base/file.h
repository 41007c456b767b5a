#pragma once
// Files: written beside, synced, renamed; read whole or mapped; digests.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace fulmen::base {

std::string read_file(const std::string& path);  // throws Error naming the path and the reason
void write_file_atomic(const std::string& path,
                       std::string_view bytes);  // path.tmp.PID, fsync, rename, fsync directory
void make_directories(const std::string& path);
void remove_all(const std::string& path);

// A read-only mapping of a whole file; pages come in as they are read.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Appends to a new file `path` by way of `path.tmp.PID`; commit() syncs and renames, the destructor without commit
// removes it. Any short write (disk full) throws Error naming path, bytes wanted and the reason; the old file is
// untouched.
class FileWriter {
 public:
  explicit FileWriter(const std::string& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  void write(const void* data, size_t bytes);
  void commit();
  uint64_t size() const { return size_; }

 private:
  std::string path_, tmp_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

using Digest = std::array<uint8_t, 16>;
Digest digest128(const void* data, size_t bytes);  // XXH3-128, canonical byte order
std::string hex(const Digest& d);
uint64_t digest64(const void* data, size_t bytes, uint64_t seed = 0);

}  // namespace fulmen::base
