#pragma once
// Which backend a role runs on: `run.device`. The core links no CUDA. A GPU is looked for in this order: the driver
// (libcuda.so.1), a device, our plug-in libfulmen_cuda.so beside the executable, a kernel table of our version, and a
// device that the plug-in can open. The first that is missing is the reason to use the CPU.

#include <span>
#include <string>

#include "kernels/context.h"

namespace fulmen::kernels {

struct DevicePaths {
  std::string driver = "libcuda.so.1";
  std::string plugin;  // empty: libfulmen_cuda.so beside the executable
};

// "NAME, driver 13.0, ..." of device 0, or why no GPU can be used.
struct GpuFacts {
  bool usable = false;
  std::string text;
};
GpuFacts examine_gpu(const DevicePaths& paths = {});

// A choice is "cpu", "cuda" (device 0), "cuda:N" or "auto" (device 0, or the CPU where there is none).
// Of the n-th process of a role: "cuda:N" gives each a GPU of its own from N on, all else is the same for all.
std::string nth_device(const std::string& choice, int n);

struct LinearShape {  // of a weight (N, K)
  int64_t N = 0, K = 0;
  bool operator==(const LinearShape&) const = default;
};

// Owns what a Context needs; outlives every buffer that was allocated from it.
class Device {
 public:
  // Throws Error when it is to be a GPU and there is none, saying what is missing; "auto" takes the CPU then, see
  // note().
  Device(const std::string& choice, ThreadPool& pool, const DevicePaths& paths = {});
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  Context& context() { return ctx_; }
  const std::string& note() const { return note_; }  // one line for the log: what runs where and why

  // Lets a library (cuBLASLt) multiply many rows by bf16 weights of these shapes, forward and dx, where the device
  // shows at once that one of its algorithms has the bits of our kernels (kernels/cuda/product_library.h). Changes no
  // result. Returns one line for the log: the library and what was chosen for each shape.
  std::string use_library(std::span<const LinearShape> shapes);

 private:
  Context ctx_;
  void (*close_)(void*) = nullptr;
  int (*use_library_)(void*, const LinearShape*, size_t, char*, size_t) = nullptr;
  std::string note_;
};

}  // namespace fulmen::kernels
