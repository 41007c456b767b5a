#pragma once
// The part of NCCL that we call, found at run time: no header and no library of NCCL is needed to build. Signatures and
// values are those of nccl.h 2.14 and later (NVIDIA NCCL user guide, "API"); there a cudaStream_t is a pointer.

#include <cstddef>
#include <string>

namespace fulmen::collective {

struct NcclComm;  // opaque

enum class NcclResult : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

struct NcclUniqueId {
  char bytes[128];
};

// The first of the versions of ncclConfig_t; NCCL takes the size and version it says and its own defaults for the rest.
struct NcclConfig {
  size_t size = sizeof(NcclConfig);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;
};

struct NcclApi {
  static constexpr int kOldest = 21400;  // the first with communicators that do not block
  static constexpr int kInt8 = 0;        // ncclDataType_t: bytes, whatever they mean

  NcclResult (*get_version)(int*) = nullptr;
  NcclResult (*get_unique_id)(NcclUniqueId*) = nullptr;
  NcclResult (*init_rank)(NcclComm**, int size, NcclUniqueId, int rank, NcclConfig*) = nullptr;
  NcclResult (*async_error)(NcclComm*, NcclResult*) = nullptr;
  NcclResult (*finalize)(NcclComm*) = nullptr;
  NcclResult (*destroy)(NcclComm*) = nullptr;
  NcclResult (*abort)(NcclComm*) = nullptr;
  NcclResult (*group_start)() = nullptr;
  NcclResult (*group_end)() = nullptr;
  NcclResult (*send)(const void*, size_t count, int type, int peer, NcclComm*, void* stream) = nullptr;
  NcclResult (*receive)(void*, size_t count, int type, int peer, NcclComm*, void* stream) = nullptr;
  NcclResult (*broadcast)(const void*, void*, size_t count, int type, int root, NcclComm*, void* stream) = nullptr;
  const char* (*error_string)(NcclResult) = nullptr;
  const char* (*last_error)(NcclComm*) = nullptr;
  int version = 0;
};

// Throws Error: the library cannot be opened, lacks a function, or is older than kOldest. Stays loaded.
NcclApi load_nccl(const std::string& library);

std::string nccl_version_text(int version);  // "2.28.9"

}  // namespace fulmen::collective
