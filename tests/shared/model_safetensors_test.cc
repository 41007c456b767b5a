#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "kernels/error.h"
#include "shared/model/safetensors.h"

namespace fulmen::model {
namespace {

std::string temp(const std::string& name) { return testing::TempDir() + "fulmen_safetensors_" + name; }

std::string file_bytes(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data_bytes, 'x');
}

std::string error_of(const std::string& bytes) {
  const std::string path = temp("bad");
  base::write_file_atomic(path, bytes);
  try {
    SafetensorsFile file(path);
  } catch (const Error& e) {
    const std::string message = e.what();
    EXPECT_EQ(message.rfind(path + ": ", 0), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
  return "";
}

TEST(Safetensors, WhatIsWrittenReadsBack) {
  const std::string path = temp("roundtrip");
  const std::vector<float> values = {1.0f, -2.5f, 0.0f, 3e38f, -0.0f, 1e-40f};
  std::vector<uint8_t> half(12);
  encode_values(StoredDType::kBf16, values.data(), 6, half.data());
  SafetensorsWriter writer(path, {{"a", StoredDType::kF32, {2, 3}, 0, 0},
                                  {"b", StoredDType::kBf16, {6}, 0, 0},
                                  {"none", StoredDType::kF32, {0, 4}, 0, 0}});
  writer.append(values.data(), 24);
  writer.append(half.data(), 12);
  writer.commit();
  const SafetensorsFile file(path);
  ASSERT_EQ(file.tensors().size(), 3u);
  const StoredTensor* a = file.find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->shape, (std::vector<int64_t>{2, 3}));
  std::vector<float> back(6);
  decode_values(a->dtype, file.bytes(*a).data(), 6, back.data());
  EXPECT_EQ(std::memcmp(back.data(), values.data(), 24), 0);
  EXPECT_EQ(file.bytes(*file.find("b")).size(), 12u);
  EXPECT_EQ(file.find("c"), nullptr);
}

TEST(Safetensors, EveryBf16PatternSurvivesFloat) {
  for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
    const auto in = static_cast<uint16_t>(pattern);
    uint16_t out = 0;
    float value = 0;
    decode_values(StoredDType::kBf16, reinterpret_cast<const uint8_t*>(&in), 1, &value);
    encode_values(StoredDType::kBf16, &value, 1, reinterpret_cast<uint8_t*>(&out));
    ASSERT_EQ(in, out);
  }
}

TEST(Safetensors, Bf16RoundsToNearestEven) {
  auto round = [](float value) {
    uint16_t half = 0;
    encode_values(StoredDType::kBf16, &value, 1, reinterpret_cast<uint8_t*>(&half));
    float back = 0;
    decode_values(StoredDType::kBf16, reinterpret_cast<const uint8_t*>(&half), 1, &back);
    return back;
  };
  EXPECT_EQ(round(1.0f + 0x1p-8f), 1.0f);                // tie to even
  EXPECT_EQ(round(1.0f + 3 * 0x1p-8f), 1.0f + 0x1p-6f);  // tie to even
  EXPECT_EQ(round(1.0f + 0x1.2p-8f), 1.0f + 0x1p-7f);
  EXPECT_EQ(round(3.4e38f), INFINITY);
}

TEST(Safetensors, EveryHalfPatternHasItsValue) {
  for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
    const auto in = static_cast<uint16_t>(pattern);
    float value = 0;
    decode_values(StoredDType::kF16, reinterpret_cast<const uint8_t*>(&in), 1, &value);
    const int exponent = (pattern >> 10) & 31;
    const double mantissa = (pattern & 1023) / 1024.0, sign = pattern >> 15 ? -1 : 1;
    if (exponent == 31) {
      ASSERT_EQ(std::isnan(value), mantissa != 0);
      if (mantissa == 0) {
        ASSERT_EQ(value, sign * INFINITY);
      }
      continue;
    }
    const double want = exponent ? std::ldexp(1 + mantissa, exponent - 15) : std::ldexp(mantissa, -14);
    ASSERT_EQ(value, static_cast<float>(sign * want)) << pattern;
    ASSERT_EQ(std::signbit(value), pattern >> 15 == 1);
  }
}

TEST(Safetensors, BadFilesAreRefusedInOneLineNamingFileAndTensor) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(error_of(file_bytes(good, 8)), "");
  const std::vector<std::tuple<std::string, size_t, std::string>> cases = {
      {good, 7, "tensor a: truncated file"},
      {good, 9, "1 bytes after the last tensor"},
      {"{", 0, "bad header"},
      {"[]", 0, "want a JSON object"},
      {R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", 8, "tensor a: dtype: got \"I64\""},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "tensor a: data_offsets: got 8 bytes, want 12"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "tensor a: shape"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,8]}})", 8, "more than 2^63"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "tensor a: data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "tensor a: hole"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, "tensor b: overlaps"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       8, "tensor a is named twice"},
      {R"({"a\nb":{"dtype":"F32","data_offsets":[0,8]}})", 8, "tensor a\\nb: shape"},
      {R"({"a":7})", 0, "tensor a: want an object"},
      {R"({"__metadata__":1})", 0, "__metadata__"},
  };
  for (const auto& [header, data, part] : cases)
    EXPECT_NE(error_of(file_bytes(header, data)).find(part), std::string::npos) << error_of(file_bytes(header, data));
  EXPECT_NE(error_of("").find("truncated"), std::string::npos);
  EXPECT_NE(error_of("1234567").find("truncated"), std::string::npos);
  EXPECT_NE(error_of(std::string("\xff\0\0\0\0\0\0\0{}", 10)).find("truncated"), std::string::npos);
  EXPECT_NE(error_of(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)).find("length"), std::string::npos);
}

TEST(Safetensors, ShortOrUncommittedFilesNeverAppear) {
  const std::string path = temp("short");
  std::filesystem::remove(path);
  const float value = 1;
  {
    SafetensorsWriter writer(path, {{"a", StoredDType::kF32, {2}, 0, 0}});
    writer.append(&value, 4);
    EXPECT_THROW(writer.commit(), Error);
    EXPECT_THROW(writer.append("12345678", 8), Error);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_THROW(SafetensorsWriter(path, {{"a", StoredDType::kF32, {2}, 0, 0}, {"a", StoredDType::kF32, {2}, 0, 0}}),
               Error);
}

}  // namespace
}  // namespace fulmen::model
