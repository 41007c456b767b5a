#include "shared/model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"
#include "shared/base/nested_json.h"
#include "shared/base/printable.h"

namespace fulmen::model {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxHeader = 100'000'000;

StoredDType dtype_of(const std::string& name, const std::string& where) {
  for (StoredDType t : {StoredDType::kF32, StoredDType::kBf16, StoredDType::kF16})
    if (name == dtype_name(t)) return t;
  throw Error(where + ": dtype: got \"" + base::printable(name, 40) + "\", want F32, BF16 or F16");
}

std::vector<uint64_t> unsigned_list(const Json& object, const char* key, const std::string& where) {
  auto it = object.find(key);
  FULMEN_CHECK(it != object.end() && it->is_array(), where + ": " + key + ": want a list of integers");
  std::vector<uint64_t> list;
  for (const Json& v : *it) {
    FULMEN_CHECK(v.is_number_unsigned() && v.get<uint64_t>() <= INT64_MAX,
                 where + ": " + key + ": want integers from 0 to 2^63 - 1");
    list.push_back(v.get<uint64_t>());
  }
  return list;
}

StoredTensor read_entry(const std::string& name, const Json& entry, const std::string& where) {
  FULMEN_CHECK(entry.is_object(), where + ": want an object with dtype, shape, data_offsets");
  StoredTensor t;
  t.name = name;
  auto dtype = entry.find("dtype");
  FULMEN_CHECK(dtype != entry.end() && dtype->is_string(), where + ": dtype: want a string");
  t.dtype = dtype_of(dtype->get<std::string>(), where);
  unsigned __int128 bytes = dtype_bytes(t.dtype);
  for (uint64_t d : unsigned_list(entry, "shape", where)) {
    t.shape.push_back(static_cast<int64_t>(d));
    bytes *= d;
    FULMEN_CHECK(bytes <= INT64_MAX, where + ": shape: more than 2^63 bytes");
  }
  const auto offsets = unsigned_list(entry, "data_offsets", where);
  FULMEN_CHECK(offsets.size() == 2 && offsets[0] <= offsets[1], where + ": data_offsets: want [begin, end]");
  t.begin = offsets[0];
  t.end = offsets[1];
  FULMEN_CHECK(t.end - t.begin == bytes, where + ": data_offsets: got " + std::to_string(t.end - t.begin) +
                                             " bytes, want " + std::to_string(static_cast<uint64_t>(bytes)) + " for " +
                                             dtype_name(t.dtype) + " " + shape_text(t.shape));
  return t;
}

// The parser keeps the last of two equal names, so equal names are looked for while it runs.
Json parse_object(std::string_view text, const std::string& where) {
  std::set<std::string> seen;
  auto see = [&](int depth, Json::parse_event_t event, Json& parsed) {
    FULMEN_CHECK(depth <= base::kMaxJsonDepth, where + ": bad header: nested deep");
    if (event == Json::parse_event_t::key && depth == 1) {
      const auto& name = parsed.get_ref<const std::string&>();
      FULMEN_CHECK(seen.insert(name).second,
                   where + ": tensor " + base::printable(name) + " is named twice in the header");
    }
    return true;
  };
  try {
    Json header = Json::parse(text.begin(), text.end(), see);
    FULMEN_CHECK(header.is_object(), where + ": bad header: want a JSON object, got " + header.type_name());
    return header;
  } catch (const Json::exception& e) {
    throw Error(where + ": bad header: " + e.what());
  }
}

float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, mantissa = h & 0x3ff;
  const uint32_t exponent = (h >> 10) & 0x1f;
  uint32_t bits;
  if (exponent == 0x1f) {
    bits = sign | 0x7f800000u | (mantissa << 13);
  } else if (exponent != 0) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {
    const float tiny = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal; exact
    std::memcpy(&bits, &tiny, 4);
    bits |= sign;
  }
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// A NaN keeps its upper bits, so that bf16 -> fp32 -> bf16 is the identity on every pattern.
uint16_t float_to_bf16(uint32_t bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    const uint16_t upper = static_cast<uint16_t>(bits >> 16);
    return (upper & 0x7f) != 0 ? upper : static_cast<uint16_t>(upper | 0x40);
  }
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace

const char* dtype_name(StoredDType t) {
  return t == StoredDType::kF32 ? "F32" : t == StoredDType::kBf16 ? "BF16" : "F16";
}

size_t dtype_bytes(StoredDType t) { return t == StoredDType::kF32 ? 4 : 2; }

int64_t StoredTensor::numel() const { return static_cast<int64_t>((end - begin) / dtype_bytes(dtype)); }

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

std::vector<StoredTensor> parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                                   const std::string& where) {
  const Json header = parse_object(json, where);
  std::vector<StoredTensor> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      FULMEN_CHECK(entry.is_object(), where + ": __metadata__: want an object of strings");
      continue;
    }
    tensors.push_back(read_entry(name, entry, where + ": tensor " + base::printable(name)));
  }
  std::stable_sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (const StoredTensor& t : tensors) {
    const std::string who = where + ": tensor " + base::printable(t.name);
    FULMEN_CHECK(t.begin >= at, who + ": overlaps the tensor before it: begins at " + std::to_string(t.begin) +
                                    ", want " + std::to_string(at));
    FULMEN_CHECK(t.begin == at,
                 who + ": hole before it: begins at " + std::to_string(t.begin) + ", want " + std::to_string(at));
    FULMEN_CHECK(t.end <= data_bytes, who + ": truncated file: ends at " + std::to_string(t.end) + ", but there are " +
                                          std::to_string(data_bytes) + " bytes of data");
    at = t.end;
  }
  FULMEN_CHECK(at == data_bytes, where + ": " + std::to_string(data_bytes - at) + " bytes after the last tensor");
  return tensors;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  uint64_t length = 0;
  FULMEN_CHECK(file_.size() >= 8, path + ": truncated file: " + std::to_string(file_.size()) + " bytes, want a header");
  std::memcpy(&length, file_.data(), 8);
  FULMEN_CHECK(length <= kMaxHeader,
               path + ": bad header: length " + std::to_string(length) + " is over " + std::to_string(kMaxHeader));
  FULMEN_CHECK(length <= file_.size() - 8, path + ": truncated file: header of " + std::to_string(length) +
                                               " bytes in a file of " + std::to_string(file_.size()));
  data_begin_ = 8 + length;
  const std::string_view header(reinterpret_cast<const char*>(file_.data()) + 8, length);
  tensors_ = parse_safetensors_header(header, file_.size() - data_begin_, path);
  for (size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

const StoredTensor* SafetensorsFile::find(const std::string& name) const {
  auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

std::span<const uint8_t> SafetensorsFile::bytes(const StoredTensor& t) const {
  return {file_.data() + data_begin_ + t.begin, t.end - t.begin};
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<StoredTensor> tensors) : file_(path) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};  // transformers refuses files without it
  for (StoredTensor& t : tensors) {
    uint64_t bytes = dtype_bytes(t.dtype);
    for (int64_t d : t.shape) bytes *= static_cast<uint64_t>(d);
    t.begin = expected_;
    t.end = expected_ += bytes;
    FULMEN_CHECK(!header.contains(t.name), path + ": tensor " + t.name + " is written twice");
    header[t.name] = {{"dtype", dtype_name(t.dtype)}, {"shape", t.shape}, {"data_offsets", {t.begin, t.end}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // data starts aligned
  const uint64_t length = text.size();
  FULMEN_CHECK(length <= kMaxHeader, path + ": header of " + std::to_string(length) + " bytes is too long");
  file_.write(&length, 8);
  file_.write(text.data(), text.size());
}

void SafetensorsWriter::append(const void* bytes, size_t n) {
  FULMEN_CHECK(n <= expected_, "safetensors: more bytes written than announced");
  file_.write(bytes, n);
  expected_ -= n;
}

void SafetensorsWriter::commit() {
  FULMEN_CHECK(expected_ == 0, "safetensors: " + std::to_string(expected_) + " announced bytes were not written");
  file_.commit();
}

void decode_values(StoredDType dtype, const uint8_t* in, size_t n, float* out) {
  if (dtype == StoredDType::kF32) {
    if (n > 0) std::memcpy(out, in, n * 4);  // an empty tensor may have no address
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, in + 2 * i, 2);
    if (dtype == StoredDType::kBf16) {
      const uint32_t bits = static_cast<uint32_t>(half) << 16;
      std::memcpy(out + i, &bits, 4);
    } else {
      out[i] = half_to_float(half);
    }
  }
}

void encode_values(StoredDType dtype, const float* in, size_t n, uint8_t* out) {
  if (dtype == StoredDType::kF32) {
    if (n > 0) std::memcpy(out, in, n * 4);  // an empty tensor may have no address
    return;
  }
  FULMEN_CHECK(dtype == StoredDType::kBf16, "encode_values: got F16, want F32 or BF16");
  for (size_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, in + i, 4);
    const uint16_t half = float_to_bf16(bits);
    std::memcpy(out + 2 * i, &half, 2);
  }
}

}  // namespace fulmen::model
