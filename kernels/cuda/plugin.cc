// What libfulmen_cuda.so shows to the program: plain C functions (kernels/device.cc calls them). No exception leaves.

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>

#include "kernels/cuda/product_library.h"
#include "kernels/cuda/product_wgmma.h"
#include "kernels/cuda/state.h"
#include "kernels/cuda/table.h"

using namespace fulmen::kernels;

namespace {

char table_name[32] = "cuda";  // "cuda-sm90" once a device is open
const KernelTable table = cuda::make_table(table_name);

template <class F>
int guarded(char* message, size_t size, F f) {
  try {
    f();
    return 0;
  } catch (const std::exception& e) {
    std::snprintf(message, size, "%s", e.what());
    return 1;
  }
}

void check_driver() {
  int driver = 0, runtime = 0;
  cuda::check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  cuda::check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  FULMEN_CHECK(driver > 0, "this machine has no NVIDIA driver");
  FULMEN_CHECK(driver / 1000 >= runtime / 1000,
               "the NVIDIA driver supports CUDA " + std::to_string(driver / 1000) + "." +
                   std::to_string(driver % 1000 / 10) + ", older than the CUDA " + std::to_string(runtime / 1000) +
                   "." + std::to_string(runtime % 1000 / 10) + " this build needs: update the driver");
}

cudaDeviceProp properties(int device) {
  check_driver();
  int count = 0;
  cuda::check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  FULMEN_CHECK(count > 0, "the driver of this machine sees no GPU");
  FULMEN_CHECK(device < count, "GPU " + std::to_string(device) + " is not there: this machine has " +
                                   (count == 1 ? "one, cuda:0" : "cuda:0 to cuda:" + std::to_string(count - 1)));
  cudaDeviceProp p{};
  cuda::check(cudaGetDeviceProperties(&p, device), "cudaGetDeviceProperties");
  FULMEN_CHECK(p.major == 8 || (p.major == 9 && p.minor == 0),
               std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." +
                   std::to_string(p.minor) + ", this build has kernels for 8.x and 9.0");
  return p;
}

std::string nccl_version() {
  void* library = ::dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return "no NCCL (libnccl.so.2 cannot be opened)";
  const auto version_of = reinterpret_cast<int (*)(int*)>(::dlsym(library, "ncclGetVersion"));
  int v = 0;
  if (version_of == nullptr || version_of(&v) != 0) return "an NCCL that does not tell its version";
  return "NCCL " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100);
}

}  // namespace

#define FULMEN_EXPORT extern "C" __attribute__((visibility("default")))

FULMEN_EXPORT const KernelTable* fulmen_kernel_table(uint32_t version) {
  return version == kKernelTableVersion ? &table : nullptr;
}

FULMEN_EXPORT int fulmen_cuda_open(int device, void** state, char* message, size_t size) {
  return guarded(message, size, [&] {
    const cudaDeviceProp p = properties(device);
    std::snprintf(table_name, sizeof table_name, "cuda-sm%d%d", p.major, p.minor);
    auto opened = std::make_unique<cuda::State>(device);
    cuda::admit_wgmma(*opened, p.major == 9);
    *state = opened.release();
  });
}

FULMEN_EXPORT int fulmen_cuda_use_library(void* state, const LinearShape* shapes, size_t count, char* message,
                                          size_t size) {
  return guarded(message, size, [&] {
    const std::string chosen = cuda::use_library({shapes, count}, *static_cast<cuda::State*>(state));
    std::snprintf(message, size, "%s", chosen.c_str());
  });
}

FULMEN_EXPORT void fulmen_cuda_close(void* state) {
  const std::unique_ptr<cuda::State> owned(static_cast<cuda::State*>(state));
}

FULMEN_EXPORT int fulmen_cuda_describe(int device, char* message, size_t size) {
  return guarded(message, size, [&] {
    const cudaDeviceProp p = properties(device);
    int driver = 0, runtime = 0;
    cuda::check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    cuda::check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    int count = 0;
    cuda::check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    const std::string more = count > 1 ? " (" + std::to_string(count) + " GPUs)" : "";
    std::snprintf(message, size, "%s%s, %.0f GiB, driver for CUDA %d.%d, built with CUDA %d.%d, %s", p.name,
                  more.c_str(), static_cast<double>(p.totalGlobalMem) / (1 << 30), driver / 1000, driver % 1000 / 10,
                  runtime / 1000, runtime % 1000 / 10, nccl_version().c_str());
  });
}
