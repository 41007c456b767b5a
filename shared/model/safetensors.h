#pragma once
// The safetensors file format: u64 little-endian header length (at most 100 MB), a JSON object name -> {dtype, shape,
// data_offsets} with an optional __metadata__ of strings, then the data without holes. Reading maps the file and checks
// all of that before a tensor is touched; every error is one line naming file and tensor. F32, BF16 and F16 are read,
// other dtypes are refused by name. Values are little-endian, as the hosts this program runs on.
// A file must not shrink while it is mapped.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "shared/base/file.h"

namespace fulmen::model {

enum class StoredDType { kF32, kBf16, kF16 };
const char* dtype_name(StoredDType t);  // as the format spells it: F32, BF16, F16
size_t dtype_bytes(StoredDType t);

struct StoredTensor {
  std::string name;
  StoredDType dtype = StoredDType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes in the data section
  int64_t numel() const;
};

std::string shape_text(const std::vector<int64_t>& shape);  // [2, 3]

// Checks a header against the size of the data section; the tensors in file order. Throws Error starting with `where`.
std::vector<StoredTensor> parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                                   const std::string& where);

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  const std::string& path() const { return file_.path(); }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* find(const std::string& name) const;  // nullptr if there is none; owned by this object
  std::span<const uint8_t> bytes(const StoredTensor& t) const;

 private:
  base::MappedFile file_;
  uint64_t data_begin_ = 0;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string, size_t> index_;
};

// Streams one file: the tensors are announced first (begin and end are filled in), then their bytes come in that order.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, std::vector<StoredTensor> tensors);
  void append(const void* bytes, size_t n);
  void commit();  // throws if bytes are missing; before it `path` does not exist or is the old file

 private:
  base::FileWriter file_;
  uint64_t expected_ = 0;  // bytes still to come
};

// n values; `in` and `out` need no alignment on the stored side and must not overlap.
void decode_values(StoredDType dtype, const uint8_t* in, size_t n, float* out);
void encode_values(StoredDType dtype, const float* in, size_t n,
                   uint8_t* out);  // kF32 and kBf16 (nearest even, NaN kept)

}  // namespace fulmen::model
