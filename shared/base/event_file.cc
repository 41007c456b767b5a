#include "shared/base/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>

#include "kernels/error.h"
#include "shared/base/file.h"

namespace fulmen::base {
namespace {

static_assert(std::endian::native == std::endian::little, "records are little endian");

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t remainder = i;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder & 1) != 0 ? remainder >> 1 ^ 0x82F63B78u : remainder >> 1;
    table[i] = remainder;
  }
  return table;
}();

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Protobuf wire format: a tag is field number << 3 | type; 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

template <class T>
void put_fixed(std::string& out, uint32_t field, T value) {
  put_varint(out, field << 3 | (sizeof value == 8 ? 1 : 5));
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_varint(out, field << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}

void put_number(std::string& out, uint32_t field, uint64_t value) {
  put_varint(out, field << 3);
  put_varint(out, value);
}

// Event: 1 wall_time, 2 step, 3 file_version, 5 summary, 7 session_log.
std::string event_at(int64_t step) {
  std::string event;
  put_fixed(event, 1, wall_time());
  if (step != 0) put_number(event, 2, static_cast<uint64_t>(step));
  return event;
}

}  // namespace

uint32_t crc32c(const void* data, size_t bytes) {
  const auto* next = static_cast<const uint8_t*>(data);
  uint32_t crc = ~0u;
  for (size_t i = 0; i < bytes; ++i) crc = kCrcTable[(crc ^ next[i]) & 255] ^ crc >> 8;
  return ~crc;
}

uint32_t masked_crc32c(const void* data, size_t bytes) { return std::rotr(crc32c(data, bytes), 15) + 0xa282ead8u; }

EventFile::EventFile(const std::string& directory, int64_t resume_step) {
  make_directories(directory);
  char host[256] = "host";
  if (::gethostname(host, sizeof host - 1) != 0) std::strcpy(host, "host");
  path_ = directory + "/events.out.tfevents." + std::to_string(static_cast<int64_t>(wall_time())) + "." + host + "." +
          std::to_string(::getpid());
  file_.reset(std::fopen(path_.c_str(), "wbe"));
  FULMEN_CHECK(file_ != nullptr, path_ + ": cannot create: " + std::system_category().message(errno));
  std::string version = event_at(0);
  put_bytes(version, 3, "brain.Event:2");
  record(version);
  if (resume_step > 0) {
    std::string start = event_at(resume_step), session;
    put_number(session, 1, 1);  // SessionLog.status = START
    put_bytes(start, 7, session);
    record(start);
  }
  flush();
}

void EventFile::scalar(std::string_view tag, float value, int64_t step) {
  std::string point, summary, event = event_at(step);
  put_bytes(point, 1, tag);      // Summary.Value.tag
  put_fixed(point, 2, value);    // Summary.Value.simple_value
  put_bytes(summary, 1, point);  // Summary.value
  put_bytes(event, 5, summary);
  record(event);
}

void EventFile::record(const std::string& event) {
  const uint64_t length = event.size();
  const uint32_t length_crc = masked_crc32c(&length, sizeof length);
  const uint32_t event_crc = masked_crc32c(event.data(), event.size());
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  bytes.append(reinterpret_cast<const char*>(&length_crc), sizeof length_crc);
  bytes += event;
  bytes.append(reinterpret_cast<const char*>(&event_crc), sizeof event_crc);
  FULMEN_CHECK(std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) == bytes.size(),
               path_ + ": cannot write: " + std::system_category().message(errno));
}

void EventFile::flush() {
  FULMEN_CHECK(std::fflush(file_.get()) == 0, path_ + ": cannot write: " + std::system_category().message(errno));
}

}  // namespace fulmen::base
