// Work on two streams of the CUDA backend (State::together), run in orders that a GPU may choose and that show a
// dependency nobody wrote down.

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <span>

#include "cuda_test_device.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/state.h"
#include "kernels/memory.h"
#include "kernels/recording.h"
#include "tests/kernels/properties.h"

namespace fulmen::kernels {
namespace {

using emulation::StreamOrder;

constexpr StreamOrder kLate[] = {StreamOrder::kAwaitedFirst, StreamOrder::kOthersFirst};

class CudaStreams : public testing::Test {
 protected:
  ~CudaStreams() override { emulation::set_stream_order(StreamOrder::kAtOnce); }
  std::array<float, 4> values() {
    std::array<float, 4> v{};
    copy_out(v.data(), data, sizeof v, device.context());
    return v;
  }
  void start(StreamOrder order) {
    emulation::set_stream_order(order);
    fill_zero(data, 4 * sizeof(float), device.context());
  }

  ThreadPool pool{1};
  TestDevice device{pool};
  cuda::State& state = cuda::state_of(device.context());
  DeviceMemory memory = allocate(4 * sizeof(float), device.context());
  float* data = static_cast<float*>(memory.get());
};

__global__ void add_kernel(float* to, const float* from, float x) { *to = *from + x; }

void add(cuda::State& state, float* to, const float* from, float x) {
  cuda::launch(state, "add", add_kernel, dim3(1), 1, 0, to, from, x);
}

void add_raw(cudaStream_t stream, float* to, const float* from, float x) {
  cudaLaunchConfig_t config;
  config.stream = stream;
  cudaLaunchKernelEx(&config, add_kernel, to, from, x);
}

// The negative control: with the event every order gives 2, without it at least one does not.
TEST_F(CudaStreams, MissingEventShowsInOneOfTheOrders) {
  cudaStream_t other;
  cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
  cudaEvent_t forked, joined;
  cudaEventCreateWithFlags(&forked, cudaEventDisableTiming);
  cudaEventCreateWithFlags(&joined, cudaEventDisableTiming);
  enum { kBoth, kNoFork, kNoJoin };
  for (const int how : {kBoth, kNoFork, kNoJoin}) {
    int wrong = 0;
    for (const StreamOrder order : kLate) {
      start(order);
      add_raw(state.stream(), data, data, 1);
      cudaEventRecord(forked, state.stream());
      if (how != kNoFork) cudaStreamWaitEvent(other, forked, 0);
      add_raw(other, data + 1, data, 1);
      cudaEventRecord(joined, other);
      if (how != kNoJoin) cudaStreamWaitEvent(state.stream(), joined, 0);
      add_raw(state.stream(), data + 2, data + 1, 0);
      wrong += values()[2] != 2;
      cudaStreamSynchronize(other);
    }
    EXPECT_EQ(wrong > 0, how != kBoth) << how;
  }
  cudaEventDestroy(forked), cudaEventDestroy(joined);
  cudaStreamDestroy(other);
}

// before -> (aside | rest) -> after, the two at the same time; in a graph too.
TEST_F(CudaStreams, WhatRunsTogetherComesAfterAllBeforeAndBeforeAllAfter) {
  const auto queue = [&] {
    add(state, data, data, 1);
    state.together([&] { add(state, data + 1, data, 10); }, [&] { add(state, data + 2, data, 100); });
    add(state, data, data, 1000);
    add(state, data + 3, data + 1, 0.5f);
    add(state, data + 3, data + 3, 0.25f);
  };
  const std::array<float, 4> want = {1001, 11, 101, 11.75f};
  for (const StreamOrder order : {StreamOrder::kAtOnce, kLate[0], kLate[1]})
    for (const bool graph : {false, true}) {
      start(order);
      if (graph) {
        for (int twice = 0; twice < 2; ++twice) {  // the second launch is an update of the first
          fill_zero(data, 4 * sizeof(float), device.context());
          Recording recording(7, device.context());
          queue();
          recording.launch();
        }
      } else {
        queue();
      }
      EXPECT_EQ(values(), want) << static_cast<int>(order) << graph;
    }
}

TEST_F(CudaStreams, WhatRunsTogetherHasScratchOfItsOwn) {
  for (const StreamOrder order : kLate) {
    start(order);
    const auto through_scratch = [&](float* to, float x) {
      cuda::State::Frame frame(state);
      auto* scratch = frame.take<float>(1000);
      add(state, scratch, data, x);
      add(state, to, scratch, 0);
    };
    state.together([&] { through_scratch(data + 1, 1); }, [&] { through_scratch(data + 2, 2); });
    EXPECT_EQ(values(), (std::array<float, 4>{0, 1, 2, 0}));
  }
}

TEST_F(CudaStreams, UploadsArriveBeforeTheirReadersOnEitherStream) {
  for (const StreamOrder order : kLate) {
    start(order);
    const auto add_uploaded = [&](float* to, float x) {
      add(state, to, state.upload(std::span<const float>(&x, 1)), 0.5f);
    };
    state.together([&] { add_uploaded(data + 1, 1); }, [&] { add_uploaded(data + 2, 2); });
    EXPECT_EQ(values(), (std::array<float, 4>{0, 1.5f, 2.5f, 0}));
  }
}

TEST_F(CudaStreams, ErrorOfOneLeavesNothingOfTheOtherRunning) {
  for (const StreamOrder order : kLate) {
    start(order);
    const auto fails = [&] {
      state.together([&] { add(state, data + 1, data, 10); }, [] { throw Error("no such kernel"); });
    };
    EXPECT_THROW(fails(), Error);
    add(state, data, data, 1000);  // the memory is another's now
    EXPECT_EQ(values(), (std::array<float, 4>{1000, 10, 0, 0}));
    state.together([&] { add(state, data + 2, data, 1); }, [&] { add(state, data + 3, data, 2); });
    EXPECT_EQ(values(), (std::array<float, 4>{1000, 10, 1001, 1002}));
  }
}

TEST_F(CudaStreams, BranchOfARecordingThatDoesNotComeBackIsRefused) {
  cudaStream_t other;
  cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
  cudaEvent_t forked;
  cudaEventCreateWithFlags(&forked, cudaEventDisableTiming);
  cudaStreamBeginCapture(state.stream(), cudaStreamCaptureModeRelaxed);
  cudaEventRecord(forked, state.stream());
  cudaStreamWaitEvent(other, forked, 0);
  add_raw(other, data, data, 1);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(state.stream(), &graph), cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(graph, nullptr);
  cudaEventDestroy(forked);
  cudaStreamDestroy(other);
}

// Decode and prefill rows of one attention call, on two streams; the next call reads what both have written, and so
// does the copy behind them. Every order has the bits of one by one.
TEST_F(CudaStreams, AttentionOfDecodeAndPrefillRowsHasTheSameBitsInEveryOrder) {
  constexpr int kH = 4, kKV = 2, kD = 16;
  constexpr int64_t kPages = 20, kRows = 12;
  const std::vector<int32_t> table = [] {  // two slots of ten pages
    std::vector<int32_t> t(kPages);
    std::iota(t.begin(), t.end(), 0);
    return t;
  }();
  Context& ctx = device.context();
  const auto on_device = [&ctx](const auto& values) {
    DeviceMemory m = allocate(values.size() * sizeof(values[0]), ctx);
    copy_in(m.get(), values.data(), values.size() * sizeof(values[0]), ctx);
    return m;
  };
  const auto run = [&](DType dtype) {
    const size_t cache_bytes = kPages * kKV * 64 * kD * dtype_bytes(dtype);
    const DeviceMemory k = allocate(cache_bytes, ctx), v = allocate(cache_bytes, ctx), pages = on_device(table);
    const PagedKvCache cache{k.get(), v.get(), dtype, table.data(), kPages / 2, static_cast<int32_t*>(pages.get())};
    std::vector<float> all;
    int32_t done[2] = {0, 0};
    for (int step = 0; step < 4; ++step) {  // a prompt each; then one decodes while the other prefills, in turn
      const int32_t rows[2] = {step == 0 ? 6 : step % 2 ? 1 : 11, step == 0 ? 5 : step % 2 ? 11 : 1};
      const std::vector<Segment> segments = {{0, rows[0], done[0], 0}, {rows[0], rows[1], done[1], 1}};
      const int64_t n = rows[0] + rows[1];
      const auto values = [&](int64_t columns, uint32_t seed) {
        return on_device(normal_floats(n * columns, seed + 10 * static_cast<uint32_t>(step)));
      };
      const DeviceMemory q = values(kH * kD, 1), kk = values(kKV * kD, 2), vv = values(kKV * kD, 3);
      const DeviceMemory o = allocate(static_cast<size_t>(kRows * kH * kD) * sizeof(float), ctx);
      const auto as = [n](const DeviceMemory& m, int64_t columns) {
        return mat(static_cast<float*>(m.get()), n, columns);
      };
      attention_forward(
          {as(q, kH * kD), as(kk, kKV * kD), as(vv, kKV * kD), as(o, kH * kD), {}, kH, kKV, kD, segments, &cache}, ctx);
      std::vector<float> out(static_cast<size_t>(n * kH * kD));
      copy_out(out.data(), o.get(), out.size() * sizeof(float), ctx);
      all.insert(all.end(), out.begin(), out.end());
      done[0] += rows[0], done[1] += rows[1];
    }
    return all;
  };
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const std::vector<float> want = run(dtype);
    for (const StreamOrder order : kLate) {
      emulation::set_stream_order(order);
      emulation::counts() = {};
      EXPECT_TRUE(same_bits(run(dtype), want)) << static_cast<int>(dtype) << static_cast<int>(order);
      EXPECT_GE(emulation::counts().stream_waits, 6) << "not on two streams";
      emulation::set_stream_order(StreamOrder::kAtOnce);
    }
  }
}

// A copy on its way is waited for alone: what is queued behind it has not run yet.
TEST_F(CudaStreams, FetchGivesWhatWasThereWhenItBegan) {
  for (const StreamOrder order : {StreamOrder::kAtOnce, kLate[0], kLate[1]}) {
    start(order);
    Fetch first(device.context()), second(device.context());
    add(state, data, data, 1);
    first.begin(data, sizeof(float));
    add(state, data, data, 1);
    second.begin(data, sizeof(float));
    emulation::counts() = {};
    EXPECT_EQ(*static_cast<const float*>(first.wait()), 1);
    EXPECT_EQ(emulation::counts().waits_with_work_behind, order == StreamOrder::kAtOnce ? 0 : 1);
    EXPECT_EQ(*static_cast<const float*>(second.wait()), 2);
    first.begin(data, 4 * sizeof(float));
    EXPECT_EQ(static_cast<const float*>(first.wait())[0], 2);
  }
}

}  // namespace
}  // namespace fulmen::kernels
