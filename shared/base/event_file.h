#pragma once
// TensorBoard event files: scalars only. A file is a row of records
//   u64 length, u32 masked_crc32c(length), bytes, u32 masked_crc32c(bytes)        (little endian)
// whose bytes are a tensorflow.Event message. The few fields used are encoded here, so base needs no protobuf.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

namespace fulmen::base {

uint32_t crc32c(const void* data, size_t bytes);         // Castagnoli, "123456789" -> 0xE3069283
uint32_t masked_crc32c(const void* data, size_t bytes);  // rotated and offset, as TFRecord stores it

// Writes one new file `directory/events.out.tfevents.TIME.HOST.PID`; throws Error when it cannot. Not thread-safe.
class EventFile {
 public:
  // resume_step > 0 marks a restart: TensorBoard then forgets points of older files of the directory from that step on.
  EventFile(const std::string& directory, int64_t resume_step);
  void scalar(std::string_view tag, float value, int64_t step);
  void flush();
  const std::string& path() const { return path_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  void record(const std::string& event);

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace fulmen::base
