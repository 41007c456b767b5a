// Speed of the CUDA kernels as fractions of what the same device does in the same run: the bandwidth of a copy and the
// rate of mma.sync without memory. One line a case, and a JSON object.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/table.h"
#include "tests/gpu/device_limits.h"

namespace {

using namespace fulmen::kernels;
using Clock = std::chrono::steady_clock;

struct Bench {
  ThreadPool pool{1};
  Device device{"cuda", pool};
  Context& ctx = device.context();
  double bandwidth = 0, matrix_rate = 0;  // bytes/s, flop/s
  std::vector<std::string> lines;

  // Median of repeated calls, each group of calls long enough to time from the host.
  double seconds(const std::function<void()>& f) {
    f();
    synchronize(ctx);
    std::vector<double> times;
    for (int i = 0; i < 7; ++i) {
      const auto begin = Clock::now();
      for (int k = 0; k < 10; ++k) f();
      synchronize(ctx);
      times.push_back(std::chrono::duration<double>(Clock::now() - begin).count() / 10);
    }
    std::sort(times.begin(), times.end());
    return times[3];
  }
  void report(const std::string& name, double s, double bytes, double flops) {
    char line[256];
    std::snprintf(
        line, sizeof line,
        "\"%s\": {\"us\": %.2f, \"GB_per_s\": %.0f, \"of_copy\": %.3f, \"TFLOP_per_s\": %.2f, \"of_mma\": %.3f}",
        name.c_str(), s * 1e6, bytes / s * 1e-9, bytes / s / bandwidth, flops / s * 1e-12, flops / s / matrix_rate);
    std::printf("%s\n", line);
    lines.push_back(line);
  }
};

struct Tensor {
  DeviceMemory memory;
  TensorRef ref;
  Tensor(int64_t rows, int64_t columns, Context& ctx)
      : memory(allocate(static_cast<size_t>(rows * columns) * 4, ctx)),
        ref(mat(static_cast<float*>(memory.get()), rows, columns)) {}
};

void linear(Bench& b, DType t, int64_t M, int64_t N, int64_t K) {
  Tensor x(M, K, b.ctx), w(N, K, b.ctx), y(M, N, b.ctx);
  const DeviceMemory packed = allocate(packed_bytes(N, K, t), b.ctx);
  pack_weight(w.ref, t, packed.get(), b.ctx);
  const double s = b.seconds([&] { linear_forward({x.ref, {packed.get(), t, N, K}, y.ref}, b.ctx); });
  const auto bytes = static_cast<double>(M * K * 4 + M * N * 4 + N * K * dtype_bytes(t));
  b.report(std::string("linear ") + (t == DType::kBf16 ? "bf16 " : "fp32 ") + std::to_string(M) + "x" +
               std::to_string(N) + "x" + std::to_string(K),
           s, bytes, 2.0 * static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K));
}

void lightning(Bench& b, int64_t B, int64_t rows) {
  const int H = 16, D = 128;
  Tensor qkv(B * rows, H * 3 * D, b.ctx), o(B * rows, H * D, b.ctx), state(B * H * D, D, b.ctx), pw(H, 65, b.ctx);
  Tensor k(B * H * 64, D, b.ctx), v(B * H * 64, D, b.ctx);
  std::vector<Segment> segments;
  for (int32_t s = 0; s < B; ++s)
    segments.push_back({s * rows, static_cast<int32_t>(rows), rows == 1 ? 1000 : 0, rows == 1 ? s : -1});
  const LightningCache cache{state.ref.f32(), k.ref.data, v.ref.data, DType::kBf16, B};
  const double s = b.seconds([&] {
    lightning_forward({qkv.ref, o.ref, pw.ref.f32(), H, D, segments, rows == 1 ? &cache : nullptr}, b.ctx);
  });
  const double heads = static_cast<double>(B) * H, tokens = heads * static_cast<double>(rows);
  const double bytes = rows == 1 ? heads * (D * D * 4 + 2 * 41 * D * 2 + 4 * D * 4) : tokens * 4 * D * 4;
  b.report(
      "lightning " + std::string(rows == 1 ? "decode " : "forward ") + std::to_string(B) + "x" + std::to_string(rows),
      s, bytes, tokens * (rows == 1 ? 2.0 * D * (D + 82) : 2.0 * D * (D + D + 64)));
}

void adamw(Bench& b) {
  const int64_t n = int64_t{1} << 26;
  std::vector<Tensor> t;
  for (int i = 0; i < 4; ++i) t.emplace_back(1, n, b.ctx);
  const auto flat = [&](int i) { return vec(t[static_cast<size_t>(i)].ref.f32(), n); };
  AdamW a{flat(0), flat(1), flat(2), flat(3)};
  b.report("adamw 67M", b.seconds([&] { adamw_step({&a, 1}, b.ctx); }), 8.0 * 4 * static_cast<double>(n), 0);
}

}  // namespace

int main(int argc, char** argv) {
  const GpuFacts facts = examine_gpu();
  if (!facts.usable) return std::fprintf(stderr, "gpu_bench: %s\n", facts.text.c_str()), 77;
  Bench b;
  {
    const size_t bytes = size_t{1} << 30;
    const DeviceMemory from = allocate(bytes, b.ctx), to = allocate(bytes, b.ctx);
    b.bandwidth =
        2.0 * static_cast<double>(bytes) / b.seconds([&] { copy_within(to.get(), from.get(), bytes, b.ctx); });
    b.matrix_rate = measure_mma_rate();
  }
  std::printf("%s: copy %.0f GB/s, mma.sync %.0f TFLOP/s\n", facts.text.c_str(), b.bandwidth * 1e-9,
              b.matrix_rate * 1e-12);
  for (const int64_t M : {1, 16, 64, 512, 4096}) linear(b, DType::kBf16, M, 4096, 2048);
  for (const int64_t M : {1, 256, 2048}) linear(b, DType::kF32, M, 4096, 2048);
  lightning(b, 64, 1), lightning(b, 256, 1), lightning(b, 1, 8192), lightning(b, 8, 4096);
  adamw(b);
  std::ofstream json(argc > 1 ? argv[1] : "/dev/null");
  json << "{\"device\": \"" << facts.text << "\", \"copy_GB_per_s\": " << b.bandwidth * 1e-9
       << ", \"mma_TFLOP_per_s\": " << b.matrix_rate * 1e-12;
  for (const std::string& line : b.lines) json << ",\n  " << line;
  json << "}\n";
  return 0;
}
