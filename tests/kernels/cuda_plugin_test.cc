// libfulmen_cuda.so on a machine without a driver: it loads, hands over a whole table of our version and no other, and
// says in one line why it cannot be opened. (With a GPU the last is not tested here but in tests/gpu.)

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

void* plugin() {
  const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libfulmen_cuda.so";
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  EXPECT_NE(library, nullptr) << ::dlerror();
  return library;
}

TEST(CudaPlugin, HandsOverATableOfOurVersionOnly) {
  const auto table_of = reinterpret_cast<const KernelTable* (*)(uint32_t)>(::dlsym(plugin(), "fulmen_kernel_table"));
  ASSERT_NE(table_of, nullptr);
  EXPECT_EQ(table_of(kKernelTableVersion + 1), nullptr);
  const KernelTable* table = table_of(kKernelTableVersion);
  ASSERT_NE(table, nullptr);
  EXPECT_FALSE(table->host_memory);
  for (const void* entry : {(const void*)table->allocate, (const void*)table->copy_in, (const void*)table->dispatch,
                            (const void*)table->linear_forward, (const void*)table->lightning_forward,
                            (const void*)table->attention_backward, (const void*)table->lm_head_backward,
                            (const void*)table->sample_rows, (const void*)table->adamw_step})
    EXPECT_NE(entry, nullptr);
}

TEST(CudaPlugin, WithoutADriverItSaysSoInOneLine) {
  if (::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr) GTEST_SKIP() << "this machine has a driver";
  const auto open = reinterpret_cast<int (*)(int, void**, char*, size_t)>(::dlsym(plugin(), "fulmen_cuda_open"));
  ASSERT_NE(open, nullptr);
  char message[512] = {};
  void* state = nullptr;
  EXPECT_NE(open(0, &state, message, sizeof message), 0);
  EXPECT_EQ(state, nullptr);
  EXPECT_NE(std::strstr(message, "driver"), nullptr) << message;
  EXPECT_EQ(std::strchr(message, '\n'), nullptr) << message;
}

}  // namespace
}  // namespace fulmen::kernels
