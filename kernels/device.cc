#include "kernels/device.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

// What libfulmen_cuda.so exports beside fulmen_kernel_table (kernels/cuda/plugin.cc). Each returns 0, or writes a
// message of at most `size` bytes.
using TableOf = const KernelTable* (*)(uint32_t version);
using Open = int (*)(int device, void** state, char* message, size_t size);
using Close = void (*)(void* state);
using UseLibrary = int (*)(void* state, const LinearShape* shapes, size_t count, char* message, size_t size);
using Describe = int (*)(int device, char* message, size_t size);

struct Plugin {
  TableOf table_of = nullptr;
  Open open = nullptr;
  Close close = nullptr;
  Describe describe = nullptr;
  UseLibrary use_library = nullptr;  // may be absent
  std::string why;                   // not empty: there is none to use
};

std::string plugin_path(const DevicePaths& paths) {
  if (!paths.plugin.empty()) return paths.plugin;
  std::error_code ignored;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", ignored);
  return (executable.parent_path() / "libfulmen_cuda.so").string();
}

template <class F>
bool find(void* library, const char* name, F& f) {
  f = reinterpret_cast<F>(::dlsym(library, name));
  return f != nullptr;
}

std::string why_no_driver(const DevicePaths& paths) {
  void* driver = ::dlopen(paths.driver.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return "no NVIDIA driver (" + paths.driver + " cannot be opened)";
  int (*init)(unsigned) = nullptr;
  int (*count_devices)(int*) = nullptr;
  if (!find(driver, "cuInit", init) || !find(driver, "cuDeviceGetCount", count_devices))
    return paths.driver + " has no cuInit, so it is no NVIDIA driver";
  int count = 0, code = init(0);
  if (code == 0) code = count_devices(&count);
  if (code != 0) return "the NVIDIA driver answers with CUDA error " + std::to_string(code);
  return count > 0 ? "" : "an NVIDIA driver, but no device";
}

Plugin load_plugin(const DevicePaths& paths) {
  Plugin p;
  p.why = why_no_driver(paths);
  if (!p.why.empty()) return p;
  const std::string path = plugin_path(paths);
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    p.why = "a GPU, but no CUDA plug-in (" + std::string(::dlerror()) + "); build with cmake --workflow --preset cuda";
  } else if (!find(library, "fulmen_kernel_table", p.table_of) || !find(library, "fulmen_cuda_open", p.open) ||
             !find(library, "fulmen_cuda_close", p.close) || !find(library, "fulmen_cuda_describe", p.describe)) {
    p.why = path + " is no plug-in of this program";
  } else if (find(library, "fulmen_cuda_use_library", p.use_library); p.table_of(kKernelTableVersion) == nullptr) {
    p.why = path + " offers no kernel table of version " + std::to_string(kKernelTableVersion) + ": build it again";
  }
  return p;
}

constexpr size_t kMessageBytes = 512;
constexpr std::string_view kNumbered = "cuda:";

bool is_device_choice(const std::string& choice) {
  if (choice == "auto" || choice == "cpu" || choice == "cuda") return true;
  const std::string_view number = std::string_view(choice).substr(std::min(choice.size(), kNumbered.size()));
  return choice.starts_with(kNumbered) && !number.empty() && number.size() <= 3 &&
         number.find_first_not_of("0123456789") == std::string_view::npos;
}

int index_of(const std::string& choice) {
  return choice.starts_with(kNumbered) ? std::stoi(choice.substr(kNumbered.size())) : 0;
}

}  // namespace

std::string nth_device(const std::string& choice, int n) {
  return choice.starts_with(kNumbered) ? std::string(kNumbered) + std::to_string(index_of(choice) + n) : choice;
}

GpuFacts examine_gpu(const DevicePaths& paths) {
  const Plugin p = load_plugin(paths);
  if (!p.why.empty()) return {false, p.why};
  char message[kMessageBytes] = {};
  const bool usable = p.describe(0, message, sizeof message) == 0;
  return {usable, message};
}

Device::Device(const std::string& choice, ThreadPool& pool, const DevicePaths& paths) : ctx_(cpu_context(pool)) {
  FULMEN_CHECK(is_device_choice(choice), "run.device: got " + choice + ", want auto, cpu, cuda or cuda:N");
  note_ = std::string(ctx_.table->name) + " kernels";
  if (choice == "cpu") return;
  const Plugin p = load_plugin(paths);
  std::string why = p.why;
  if (why.empty()) {
    char message[kMessageBytes] = {};
    void* state = nullptr;
    if (p.open(index_of(choice), &state, message, sizeof message) == 0) {
      ctx_ = {p.table_of(kKernelTableVersion), &pool, state};
      close_ = p.close, use_library_ = p.use_library;
      note_ = std::string(ctx_.table->name) + " kernels";
      return;
    }
    why = message;
  }
  FULMEN_CHECK(choice == "auto", "run.device: got " + choice + ", but " + why + "; use auto or cpu");
  note_ += " (no GPU: " + why + ")";
}

std::string Device::use_library(std::span<const LinearShape> shapes) {
  if (use_library_ == nullptr) return "own kernels: there is no library for this device";
  std::string message(8 * kMessageBytes, '\0');
  FULMEN_CHECK(use_library_(ctx_.device, shapes.data(), shapes.size(), message.data(), message.size()) == 0,
               message.c_str());
  return message.c_str();
}

Device::~Device() {
  if (close_ != nullptr) close_(ctx_.device);
}

}  // namespace fulmen::kernels
