// Device memory that processes share, on the emulated GPU: as with CUDA, only another process can open it.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

#include "cuda_runtime.h"
#include "cuda_test_device.h"
#include "kernels/memory.h"

namespace fulmen::kernels {
namespace {

using Values = std::array<float, 1000>;

TEST(CudaSharedMemory, AnotherProcessReadsWhatLiesThereNow) {
  ThreadPool pool(1);
  TestDevice device(pool);
  std::string name;
  const DeviceMemory mine = allocate_shared(sizeof(Values), name, device.context());
  for (const float x : {1.5f, 2.5f}) {
    Values values;
    values.fill(x);
    copy_in(mine.get(), values.data(), sizeof values, device.context());
    synchronize(device.context());
    const pid_t child = fork();
    if (child == 0) {
      Values seen{};
      const DeviceMemory theirs = open_shared(name, device.context());
      copy_out(seen.data(), theirs.get(), sizeof seen, device.context());
      _exit(seen == values ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
}

TEST(CudaSharedMemory, WhatCannotBeOpenedIsSaid) {
  ThreadPool pool(1);
  TestDevice device(pool);
  std::string name;
  const DeviceMemory mine = allocate_shared(64, name, device.context());
  const auto message = [&](const std::string& of) -> std::string {
    try {
      open_shared(of, device.context());
    } catch (const Error& e) {
      return e.what();
    }
    return "opened";
  };
  EXPECT_EQ(message(name), "cuda: opening memory of another process: invalid argument") << "its own";
  EXPECT_EQ(message("/fulmen-1"), "cuda: \"/fulmen-1\" is no name of shared memory");
  EXPECT_EQ(message("0000:07:00.0" + name.substr(name.find('/'))),
            "cuda: shared memory of the GPU at 0000:07:00.0, this process uses 0000:00:00.0");
  EXPECT_THROW(allocate_shared(64, name, *std::make_unique<Context>(cpu_context(pool))), Error);
}

}  // namespace
}  // namespace fulmen::kernels
