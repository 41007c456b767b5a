#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <tuple>
#include <vector>

#include "kernels/error.h"
#include "shared/base/event_file.h"
#include "shared/base/file.h"
#include "shared/base/metrics.h"

namespace fulmen::base {
namespace {

class MetricsTest : public testing::Test {
 protected:
  void SetUp() override { dir_ = testing::TempDir() + "fulmen_metrics_" + std::to_string(::getpid()); }
  void TearDown() override { remove_all(dir_); }

  std::vector<nlohmann::json> lines() const {
    std::istringstream text(read_file(dir_ + "/metrics.jsonl"));
    std::vector<nlohmann::json> parsed;
    for (std::string line; std::getline(text, line);) parsed.push_back(nlohmann::json::parse(line));
    return parsed;
  }
  std::vector<int64_t> steps() const {
    std::vector<int64_t> all;
    for (const auto& line : lines()) all.push_back(line["step"].get<int64_t>());
    return all;
  }
  std::string dir_;
};

TEST_F(MetricsTest, ValuesReadBackToTheSameBits) {
  const double third = 1.0 / 3, tiny = std::numeric_limits<double>::denorm_min();
  MetricsWriter(dir_, -1, false).write(3, {{"a/b", third}, {"tiny", tiny}});
  const auto line = lines().at(0);
  EXPECT_EQ(line["step"], 3);
  EXPECT_EQ(line["a/b"].get<double>(), third);
  EXPECT_EQ(line["tiny"].get<double>(), tiny);
}

TEST_F(MetricsTest, ValuesThatAreNotFiniteBecomeNull) {
  MetricsWriter(dir_, -1, true).write(0, {{"nan", std::nan("")}, {"inf", INFINITY}});
  EXPECT_TRUE(lines().at(0)["nan"].is_null());
  EXPECT_TRUE(lines().at(0)["inf"].is_null());
}

TEST_F(MetricsTest, ResumeDropsLaterStepsAndATornLastLine) {
  {
    MetricsWriter writer(dir_, -1, false);
    for (int64_t step = 0; step < 5; ++step) writer.write(step, {{"x", 1}});
  }
  write_file_atomic(dir_ + "/metrics.jsonl", read_file(dir_ + "/metrics.jsonl") + "{\"step\":5,\"x");
  MetricsWriter writer(dir_, 2, false);
  EXPECT_EQ(steps(), (std::vector<int64_t>{0, 1, 2}));
  writer.write(3, {{"x", 2}});
  EXPECT_EQ(steps(), (std::vector<int64_t>{0, 1, 2, 3}));
}

TEST_F(MetricsTest, BrokenLineInTheMiddleIsAnErrorWithItsNumber) {
  make_directories(dir_);
  write_file_atomic(dir_ + "/metrics.jsonl", "{\"step\":0}\nrubbish\n{\"step\":1}\n");
  try {
    MetricsWriter writer(dir_, 5, false);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("metrics.jsonl:2"), std::string::npos) << e.what();
  }
}

TEST(Crc32c, KnownAnswer) {
  EXPECT_EQ(crc32c("123456789", 9), 0xE3069283u);
  EXPECT_EQ(crc32c("", 0), 0u);
  EXPECT_EQ(masked_crc32c("", 0), 0xa282ead8u);
}

// An independent reader of the protobuf wire format: (field, number or bytes) in order.
struct Field {
  uint32_t number;
  uint64_t integer;
  std::string bytes;
};

uint64_t take_varint(const std::string& s, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<uint8_t>(s.at(at++));
    value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

std::vector<Field> decode(const std::string& s) {
  std::vector<Field> fields;
  for (size_t at = 0; at < s.size();) {
    const uint64_t tag = take_varint(s, at);
    Field field{static_cast<uint32_t>(tag >> 3), 0, ""};
    const uint64_t type = tag & 7;
    if (type == 0) field.integer = take_varint(s, at);
    const size_t width = type == 1 ? 8 : type == 5 ? 4 : type == 2 ? take_varint(s, at) : 0;
    if (at + width > s.size()) throw Error("field runs past its message");
    field.bytes = s.substr(at, width);
    at += width;
    fields.push_back(field);
  }
  return fields;
}

// The events of the only file in `directory`, after both checksums of each record were compared.
std::vector<std::vector<Field>> read_events(const std::string& directory) {
  const std::string path = std::filesystem::directory_iterator(directory)->path().string();
  const std::string bytes = read_file(path);
  std::vector<std::vector<Field>> events;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length = 0;
    uint32_t crc = 0;
    std::memcpy(&length, &bytes.at(at), 8);
    std::memcpy(&crc, &bytes.at(at + 8), 4);
    EXPECT_EQ(crc, masked_crc32c(&bytes[at], 8));
    std::memcpy(&crc, &bytes.at(at + 12 + length), 4);
    EXPECT_EQ(crc, masked_crc32c(&bytes[at + 12], length));
    events.push_back(decode(bytes.substr(at + 12, length)));
    at += 16 + length;
  }
  return events;
}

const Field& field(const std::vector<Field>& fields, uint32_t number) {
  for (const Field& f : fields) {
    if (f.number == number) return f;
  }
  throw Error("no field " + std::to_string(number));
}

TEST_F(MetricsTest, EventFileHoldsEveryScalarWithItsStep) {
  {
    MetricsWriter writer(dir_, -1, true);
    writer.write(0, {{"critic/rewards/mean", 0.25}});
    writer.write(300, {{"actor/entropy", 1.5}, {"perf/throughput", 1e6}});
  }
  const auto events = read_events(dir_ + "/tensorboard");
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(field(events[0], 3).bytes, "brain.Event:2");
  std::vector<std::tuple<int64_t, std::string, float>> points;
  for (size_t i = 1; i < events.size(); ++i) {
    int64_t step = 0;  // a zero is left out, as protobuf does
    for (const Field& f : events[i]) step = f.number == 2 ? static_cast<int64_t>(f.integer) : step;
    const auto point = decode(field(decode(field(events[i], 5).bytes), 1).bytes);
    float value = 0;
    std::memcpy(&value, field(point, 2).bytes.data(), 4);
    points.emplace_back(step, field(point, 1).bytes, value);
  }
  EXPECT_EQ(points,
            (std::vector<std::tuple<int64_t, std::string, float>>{
                {0, "critic/rewards/mean", 0.25f}, {300, "actor/entropy", 1.5f}, {300, "perf/throughput", 1e6f}}));
}

TEST_F(MetricsTest, ResumedEventFileStartsASessionAtTheNextStep) {
  MetricsWriter writer(dir_, 7, true);
  const auto events = read_events(dir_ + "/tensorboard");
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(field(events[1], 2).integer, 8u);
  EXPECT_EQ(field(decode(field(events[1], 7).bytes), 1).integer, 1u);  // SessionLog.START
}

}  // namespace
}  // namespace fulmen::base
