#include "shared/collective/nccl_api.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include "kernels/error.h"

namespace fulmen::collective {

std::string nccl_version_text(int v) { return fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100); }

NcclApi load_nccl(const std::string& library) {
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw Error(fmt::format("nccl: {} cannot be opened: {}", library, ::dlerror()));
  NcclApi api;
  const auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
    FULMEN_CHECK(function != nullptr, fmt::format("nccl: {} has no {}: want NCCL {} or later", library, name,
                                                  nccl_version_text(NcclApi::kOldest)));
  };
  find("ncclGetVersion", api.get_version);
  FULMEN_CHECK(api.get_version(&api.version) == NcclResult::kSuccess,
               "nccl: " + library + " does not tell its version");
  FULMEN_CHECK(api.version >= NcclApi::kOldest,
               fmt::format("nccl: {} is version {}, want {} or later", library, nccl_version_text(api.version),
                           nccl_version_text(NcclApi::kOldest)));
  find("ncclGetUniqueId", api.get_unique_id);
  find("ncclCommInitRankConfig", api.init_rank);
  find("ncclCommGetAsyncError", api.async_error);
  find("ncclCommFinalize", api.finalize);
  find("ncclCommDestroy", api.destroy);
  find("ncclCommAbort", api.abort);
  find("ncclGroupStart", api.group_start);
  find("ncclGroupEnd", api.group_end);
  find("ncclSend", api.send);
  find("ncclRecv", api.receive);
  find("ncclBroadcast", api.broadcast);
  find("ncclGetErrorString", api.error_string);
  find("ncclGetLastError", api.last_error);
  return api;
}

}  // namespace fulmen::collective
