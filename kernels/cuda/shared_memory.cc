// Device memory that processes share (kernels/memory.h). Its name: the GPU's place on the bus, and CUDA's handle in
// hexadecimal.

#include <cstring>

#include "kernels/cuda/entries.h"

namespace fulmen::kernels::cuda {
namespace {

std::string bus_place() {
  int device = 0;
  char place[32] = {};
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetPCIBusId(place, sizeof place, device), "cudaDeviceGetPCIBusId");
  return place;
}

std::string name_of(const cudaIpcMemHandle_t& handle) {
  std::string name = bus_place() + "/";
  for (const char c : handle.reserved) {
    const auto byte = static_cast<unsigned char>(c);
    name += "0123456789abcdef"[byte / 16];
    name += "0123456789abcdef"[byte % 16];
  }
  return name;
}

cudaIpcMemHandle_t handle_of(const std::string& name) {
  cudaIpcMemHandle_t handle{};
  const size_t at = name.find('/');
  FULMEN_CHECK(at != std::string::npos && name.size() - at - 1 == 2 * sizeof handle.reserved &&
                   name.find_first_not_of("0123456789abcdef", at + 1) == std::string::npos,
               "cuda: \"" + name + "\" is no name of shared memory");
  for (size_t i = 0; i < sizeof handle.reserved; ++i)
    handle.reserved[i] = static_cast<char>(std::stoi(name.substr(at + 1 + 2 * i, 2), nullptr, 16));
  FULMEN_CHECK(name.compare(0, at, bus_place()) == 0,
               "cuda: shared memory of the GPU at " + name.substr(0, at) + ", this process uses " + bus_place());
  return handle;
}

}  // namespace

void* allocate_shared(size_t bytes, std::string& name, Context&) {
  void* p = nullptr;
  cudaIpcMemHandle_t handle;
  check(cudaMalloc(&p, bytes > 0 ? bytes : 1), "memory to share with other processes");
  const cudaError_t code = cudaIpcGetMemHandle(&handle, p);
  if (code != cudaSuccess) cudaFree(p);
  check(code, "sharing memory with other processes");
  name = name_of(handle);
  return p;
}

void release_shared(void* p) noexcept { cudaFree(p); }

void* open_shared(const std::string& name, Context&) {
  void* p = nullptr;
  const cudaIpcMemHandle_t handle = handle_of(name);
  check(cudaIpcOpenMemHandle(&p, handle, cudaIpcMemLazyEnablePeerAccess), "opening memory of another process");
  return p;
}

void close_shared(void* p) noexcept { cudaIpcCloseMemHandle(p); }

}  // namespace fulmen::kernels::cuda
