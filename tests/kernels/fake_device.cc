// What device_test opens in place of an NVIDIA driver and of our plug-in; one of FAKE_* is defined.

#include <cstddef>
#include <cstdint>
#include <cstdio>

#ifdef FAKE_NOT_A_DRIVER
extern "C" int something_else() { return 0; }
#endif

#if defined(FAKE_DRIVER) || defined(FAKE_NO_DEVICE)
extern "C" int cuInit(unsigned) { return 0; }
extern "C" int cuDeviceGetCount(int* count) {
#ifdef FAKE_DRIVER
  *count = 1;
#else
  *count = 0;
#endif
  return 0;
}
#endif

#if defined(FAKE_PLUGIN) || defined(FAKE_OLD_PLUGIN)
extern "C" const void* fulmen_kernel_table(uint32_t version) {
#ifdef FAKE_PLUGIN
  static const int table = 0;
  return version == 0 ? nullptr : &table;
#else
  (void)version;
  return nullptr;
#endif
}
extern "C" int fulmen_cuda_open(int, void**, char* message, size_t size) {
  std::snprintf(message, size, "the NVIDIA driver supports CUDA 11.4, older than this build needs");
  return 1;
}
extern "C" void fulmen_cuda_close(void*) {}
extern "C" int fulmen_cuda_describe(int, char* message, size_t size) {
  std::snprintf(message, size, "a GPU of a test");
  return 0;
}
#endif
