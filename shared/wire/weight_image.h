#pragma once
// The bytes of one weights version on the publisher's side: private memory, a shared-memory object of this host, or a
// file that other hosts see. Objects and files are locked while their owner lives, so what a killed run left behind is
// told from what is in use, and are gone with the image.
//
// A file begins with kFileHeader bytes that name the version and its root digest, then the image. It gets its name
// (rename) only when it is complete and on the disk, so a reader finds all of a version or nothing.

#include <cstdint>
#include <string>


namespace fulmen::wire {

inline constexpr std::string_view kObjectPrefix = "/fulmen-";  // of shared-memory objects
inline constexpr std::string_view kFilePrefix = "fulmen-";     // of files ending in kFileSuffix
inline constexpr std::string_view kFileSuffix = ".weights";
inline constexpr uint64_t kFileHeader = 64;

struct FileHeader {  // as it stands in the file, little-endian
  char magic[8] = {'F', 'U', 'L', 'M', 'E', 'N', 'W', '1'};
  uint64_t version = 0, bytes = 0;  // of the image
  uint8_t root[16] = {};
};

class WeightImage {
 public:
  // All throw Error (what, bytes, why) when there is no room, or when the name belongs to a living process.
  static WeightImage in_memory(uint64_t bytes);
  static WeightImage in_shared_memory(const std::string& name, uint64_t bytes);
  static WeightImage in_file(const std::string& path, uint64_t bytes);

  WeightImage(WeightImage&& other) noexcept;
  WeightImage& operator=(WeightImage&&) = delete;
  ~WeightImage();

  uint8_t* data() const { return mapping_ + header_; }
  uint64_t size() const { return bytes_; }
  // Of a file, once its bytes are in: writes the header, waits for the disk and gives the file its name.
  void finish_file(uint64_t version, const std::string& root);

 private:
  WeightImage(std::string name, bool file, uint64_t bytes) : name_(std::move(name)), file_(file), bytes_(bytes) {}
  void reserve();
  void map(int flags);
  void release();

  std::string name_;    // empty: private memory
  std::string beside_;  // of a file that has not got its name yet
  bool file_ = false;
  uint64_t bytes_ = 0, header_ = 0;
  int fd_ = -1;
  uint8_t* mapping_ = nullptr;
};

// Remove what runs that were killed left behind; what a living process holds stays.
void sweep_shared_memory();
void sweep_files(const std::string& directory);

}  // namespace fulmen::wire
