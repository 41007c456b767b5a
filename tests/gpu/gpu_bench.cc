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

void lightning(Bench& b, int64_t B, int64_t rows, bool backward = false) {
  const int H = 16, D = 128;
  Tensor qkv(B * rows, H * 3 * D, b.ctx), o(B * rows, H * D, b.ctx), pw(H, 65, b.ctx);
  const bool decode = rows == 1;
  Tensor state(decode ? B * H * D : 1, D, b.ctx), k(decode ? B * H * 64 : 1, D, b.ctx), v(k.ref.dim[0], D, b.ctx);
  std::vector<Segment> segments;
  for (int32_t s = 0; s < B; ++s)
    segments.push_back(
        {s * static_cast<int32_t>(rows), static_cast<int32_t>(rows), decode ? 1000 : 0, decode ? s : -1});
  const LightningCache cache{state.ref.f32(), k.ref.data, v.ref.data, DType::kBf16, B};
  const LightningForward forward{qkv.ref, o.ref, pw.ref.f32(), H, D, segments, decode ? &cache : nullptr, DType::kBf16};
  const double heads = static_cast<double>(B) * H, tokens = heads * static_cast<double>(rows);
  const double bytes = decode ? heads * (D * D * 4 + 2 * 41 * D * 2 + 4 * D * 4) : tokens * 4 * D * 4;
  const double flops = tokens * (decode ? 2.0 * D * (D + 82) : 2.0 * D * (D + D + 64));
  const std::string size = std::to_string(B) + "x" + std::to_string(rows);
  b.report("lightning " + std::string(decode ? "decode " : "forward ") + size,
           b.seconds([&] { lightning_forward(forward, b.ctx); }), bytes, flops);
  if (!backward) return;
  Tensor d_o(B * rows, H * D, b.ctx), dqkv(B * rows, H * 3 * D, b.ctx);
  b.report("lightning forward+backward " + size, b.seconds([&] {
    lightning_forward(forward, b.ctx);
    lightning_backward({qkv.ref, d_o.ref, dqkv.ref, pw.ref.f32(), H, D, segments, DType::kBf16}, b.ctx);
  }),
           3 * bytes, 3 * flops);
}

void gqa_decode(Bench& b, int64_t B, int64_t context) {
  const int H = 16, KV = 2, D = 128;
  const int64_t pages = context / 64 + 1;
  Tensor q(B, H * D, b.ctx), k(B, KV * D, b.ctx), v(B, KV * D, b.ctx), o(B, H * D, b.ctx);
  Tensor keys(B * pages * KV * 64, D / 2, b.ctx), values(B * pages * KV * 64, D / 2, b.ctx);  // bf16
  std::vector<int32_t> table(static_cast<size_t>(B * pages));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  const DeviceMemory device_table = allocate(table.size() * 4, b.ctx);
  copy_in(device_table.get(), table.data(), table.size() * 4, b.ctx);
  const PagedKvCache cache{keys.ref.data, values.ref.data, DType::kBf16,
                           table.data(),  pages,           static_cast<const int32_t*>(device_table.get())};
  std::vector<Segment> segments;
  for (int32_t s = 0; s < B; ++s) segments.push_back({s, 1, static_cast<int32_t>(context) - 1, s});
  const double bytes = static_cast<double>(B * context) * KV * D * 2 * 2;
  b.report("gqa decode " + std::to_string(B) + "x" + std::to_string(context), b.seconds([&] {
    attention_forward({.q = q.ref,
                       .k = k.ref,
                       .v = v.ref,
                       .o = o.ref,
                       .H = H,
                       .KV = KV,
                       .D = D,
                       .segments = segments,
                       .cache = &cache,
                       .kv = DType::kBf16},
                      b.ctx);
  }),
           bytes, 4.0 * static_cast<double>(B * context) * H * D);
}

// Rows evenly over 32 experts.
void grouped(Bench& b, int64_t rows) {
  const int64_t E = 32, N = 2048, K = 2048;
  Tensor x(rows, K, b.ctx), y(rows, N, b.ctx), w(N, K, b.ctx);
  const DeviceMemory packed = allocate(static_cast<size_t>(E) * packed_bytes(N, K, DType::kBf16), b.ctx);
  std::vector<PackedWeight> experts;
  std::vector<int32_t> offset{0};
  for (int64_t e = 0; e < E; ++e) {
    void* at = static_cast<char*>(packed.get()) + static_cast<size_t>(e) * packed_bytes(N, K, DType::kBf16);
    pack_weight(w.ref, DType::kBf16, at, b.ctx);
    experts.push_back({at, DType::kBf16, N, K});
    offset.push_back(static_cast<int32_t>(rows * (e + 1) / E));
  }
  const DeviceMemory device_offset = allocate(offset.size() * 4, b.ctx);
  copy_in(device_offset.get(), offset.data(), offset.size() * 4, b.ctx);
  const std::span<const int32_t> at{static_cast<const int32_t*>(device_offset.get()), offset.size()};
  const double n = static_cast<double>(rows);
  b.report("grouped " + std::to_string(rows), b.seconds([&] {
    grouped_linear_forward({x.ref, at, experts, y.ref}, b.ctx);
  }),
           static_cast<double>(E * N * K) * 2 + n * (N + K) * 4, 2.0 * n * N * K);
}

void lm_head(Bench& b, int64_t T, int64_t C, int64_t V) {
  Tensor h(T, C, b.ctx), w(V, C, b.ctx), dh(T, C, b.ctx), dw(V, C, b.ctx), lse(T, 2, b.ctx);
  Tensor logprob(1, T, b.ctx), entropy(1, T, b.ctx), dlogprob(1, T, b.ctx);
  const auto flat = [T](const Tensor& t) { return vec(t.ref.f32(), T); };
  const DeviceMemory packed = allocate(packed_bytes(V, C, DType::kF32), b.ctx);
  pack_weight(w.ref, DType::kF32, packed.get(), b.ctx);
  const PackedWeight head{packed.get(), DType::kF32, V, C};
  std::vector<int32_t> target(static_cast<size_t>(T));
  for (size_t t = 0; t < target.size(); ++t) target[t] = static_cast<int32_t>((t * 7919) % static_cast<size_t>(V));
  const size_t before = bytes_free(b.ctx);
  const double s = b.seconds([&] {
    lm_head_forward(
        {.h = h.ref, .w = head, .target = target, .logprob = flat(logprob), .entropy = flat(entropy), .lse = lse.ref},
        b.ctx);
    lm_head_backward({.h = h.ref,
                      .w = head,
                      .w_rows = w.ref,
                      .target = target,
                      .lse = lse.ref,
                      .entropy = {},
                      .dlogprob = flat(dlogprob),
                      .dentropy = {},
                      .dh = dh.ref,
                      .dw = dw.ref},
                     b.ctx);
  });
  const std::string size = std::to_string(T) + "x" + std::to_string(C) + "x" + std::to_string(V);
  b.report("lm head " + size, s, 0, 3 * 2.0 * static_cast<double>(T) * static_cast<double>(C * V));
  b.lines.push_back("\"lm head " + size + " extra MB\": " + std::to_string((before - bytes_free(b.ctx)) >> 20));
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
  lightning(b, 64, 1), lightning(b, 256, 1), lightning(b, 1, 8192, true), lightning(b, 8, 4096, true);
  gqa_decode(b, 32, 4096), gqa_decode(b, 128, 4096);
  for (const int64_t rows : {32, 256, 16384}) grouped(b, rows);
  adamw(b);
  lm_head(b, 4096, 2048, 32000);
  std::ofstream json(argc > 1 ? argv[1] : "/dev/null");
  json << "{\"device\": \"" << facts.text << "\", \"copy_GB_per_s\": " << b.bandwidth * 1e-9
       << ", \"mma_TFLOP_per_s\": " << b.matrix_rate * 1e-12;
  for (const std::string& line : b.lines) json << ",\n  " << line;
  json << "}\n";
  return 0;
}
