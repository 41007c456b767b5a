#include "kernels/device.h"

#include <gtest/gtest.h>

#include "kernels/memory.h"
#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

std::string fake(const std::string& name) { return std::string(FULMEN_FAKES) + "/libfake_" + name + ".so"; }

struct Missing {
  DevicePaths paths;
  std::string why;
};

std::vector<Missing> everything_that_can_be_missing() {
  return {{{"libno-such-driver.so.1", ""}, "no NVIDIA driver (libno-such-driver.so.1 cannot be opened)"},
          {{fake("not_a_driver"), ""}, "so it is no NVIDIA driver"},
          {{fake("no_device"), ""}, "an NVIDIA driver, but no device"},
          {{fake("driver"), "/no/such/plugin.so"}, "no CUDA plug-in"},
          {{fake("driver"), fake("not_a_driver")}, "is no plug-in of this program"},
          {{fake("driver"), fake("old_plugin")}, "no kernel table of version " + std::to_string(kKernelTableVersion)},
          {{fake("driver"), fake("plugin")}, "older than this build needs"}};
}

TEST(Device, AutoTakesTheCpuAndSaysWhatIsMissing) {
  for (const Missing& m : everything_that_can_be_missing()) {
    ThreadPool pool(1);
    Device device("auto", pool, m.paths);
    EXPECT_TRUE(host_memory(device.context()));
    EXPECT_NE(device.note().find("(no GPU: "), std::string::npos) << device.note();
    EXPECT_NE(device.note().find(m.why), std::string::npos) << device.note();
    EXPECT_EQ(device.note().find('\n'), std::string::npos);
  }
}

TEST(Device, CudaIsAnErrorThatSaysWhatIsMissing) {
  for (const Missing& m : everything_that_can_be_missing()) {
    ThreadPool pool(1);
    try {
      Device device("cuda", pool, m.paths);
      FAIL() << m.why;
    } catch (const Error& e) {
      const std::string text = e.what();
      EXPECT_EQ(text.rfind("run.device: got cuda, but ", 0), 0u) << text;
      EXPECT_NE(text.find(m.why), std::string::npos) << text;
      EXPECT_EQ(text.find('\n'), std::string::npos);
    }
  }
}

TEST(Device, CpuLooksForNoGpu) {
  ThreadPool pool(1);
  Device device("cpu", pool, {fake("driver"), fake("plugin")});
  EXPECT_EQ(device.note(), std::string(device.context().table->name) + " kernels");
}

TEST(Device, NumberedDevicesAreGivenOutInOrderAndOthersAreSharedByAll) {
  EXPECT_EQ(nth_device("cuda:2", 3), "cuda:5");
  for (const std::string choice : {"cuda", "auto", "cpu"}) EXPECT_EQ(nth_device(choice, 3), choice);
  ThreadPool pool(1);
  for (const std::string choice : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1000", ""})
    EXPECT_THROW(Device(choice, pool, {fake("driver"), fake("plugin")}), Error) << choice;
}

TEST(Device, FactsAreThoseOfThePlugin) {
  const GpuFacts facts = examine_gpu({fake("driver"), fake("plugin")});
  EXPECT_TRUE(facts.usable);
  EXPECT_EQ(facts.text, "a GPU of a test");
}

}  // namespace
}  // namespace fulmen::kernels
