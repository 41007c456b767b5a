// Speed of the CUDA kernels as fractions of what the same device does in the same run: the bandwidth of a copy and the
// rate of its matrix units without memory. One line a case, and a JSON object, whole after every case; anchors.py has
// the same cases by the same names for what others offer, summary.py puts them side by side.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
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
  std::string path, head;  // of the JSON; no path: none is kept

  void keep(const std::string& line) {
    lines.push_back(line);
    write();
  }
  void write() const {
    if (path.empty()) return;
    {
      std::ofstream json(path + ".new");
      json << head;
      for (const std::string& line : lines) json << ",\n  " << line;
      json << "}\n";
    }
    std::rename((path + ".new").c_str(), path.c_str());
  }

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
        "\"%s\": {\"us\": %.2f, \"GB_per_s\": %.0f, \"of_copy\": %.3f, \"TFLOP_per_s\": %.2f, \"of_matrix\": %.3f}",
        name.c_str(), s * 1e6, bytes / s * 1e-9, bytes / s / bandwidth, flops / s * 1e-12, flops / s / matrix_rate);
    std::printf("%s\n", line);
    std::fflush(stdout);
    keep(line);
  }
  // The same work as it is done and as it was before one of M1's inference optimisations.
  void compare(const std::string& name, const std::function<void()>& with, const std::function<void()>& without) {
    const double fast = seconds(with), slow = seconds(without);
    char line[256];
    std::snprintf(line, sizeof line, "\"%s\": {\"us\": %.2f, \"us_without\": %.2f, \"gain\": %.3f}", name.c_str(),
                  fast * 1e6, slow * 1e6, slow / fast);
    std::printf("%s\n", line);
    std::fflush(stdout);
    keep(line);
  }
};

struct Tensor {
  DeviceMemory memory;
  TensorRef ref;
  Tensor(int64_t rows, int64_t columns, Context& ctx)
      : memory(allocate(static_cast<size_t>(rows * columns) * 4, ctx)),
        ref(mat(static_cast<float*>(memory.get()), rows, columns)) {}
};

// Few rows take turns with eight weights: one alone would stay in the L2 cache.
void linear(Bench& b, DType t, int64_t M, int64_t N, int64_t K, const std::string& by = "") {
  Tensor x(M, K, b.ctx), w(N, K, b.ctx), y(M, N, b.ctx);
  std::vector<DeviceMemory> packed;
  for (int i = 0; i < (M <= 64 ? 8 : 1); ++i) {
    packed.push_back(allocate(packed_bytes(N, K, t), b.ctx));
    pack_weight(w.ref, t, packed.back().get(), b.ctx);
  }
  size_t turn = 0;
  const double s = b.seconds([&] {
    linear_forward({x.ref, {packed[turn++ % packed.size()].get(), t, N, K}, y.ref}, b.ctx);
  });
  const auto bytes = static_cast<double>(M * K * 4 + M * N * 4 + N * K * dtype_bytes(t));
  b.report(std::string("linear ") + (t == DType::kBf16 ? "bf16 " : "fp32 ") + std::to_string(M) + "x" +
               std::to_string(N) + "x" + std::to_string(K) + by,
           s, bytes, 2.0 * static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K));
}

// The same by cuBLASLt, where it has our bits (on a device of its own: a library once chosen stays). What was chosen is
// a line of the results.
void linear_by_library(Bench& all) {
  const auto b = std::make_unique<Bench>();
  b->bandwidth = all.bandwidth, b->matrix_rate = all.matrix_rate;
  const LinearShape shapes[] = {{4096, 2048}, {2048, 2048}, {1024, 1024}};
  const std::string chosen = b->device.use_library(shapes);
  std::printf("%s\n", chosen.c_str());
  all.lines.push_back("\"linear by library\": \"" + chosen + "\"");
  if (chosen.starts_with("own kernels")) return;
  for (const int64_t M : {512, 4096}) linear(*b, DType::kBf16, M, 4096, 2048, " by library");
  all.lines.insert(all.lines.end(), b->lines.begin(), b->lines.end());
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
           3.75 * bytes, 3 * flops);  // 4 tensors forward, 11 backward
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

// Whole sequences, causal, as the learner does them.
void attention(Bench& b, int64_t B, int64_t rows) {
  const int H = 16, KV = 2, D = 128;
  const int64_t T = B * rows;
  Tensor q(T, H * D, b.ctx), k(T, KV * D, b.ctx), v(T, KV * D, b.ctx), o(T, H * D, b.ctx), lse(T, H, b.ctx);
  Tensor d_o(T, H * D, b.ctx), dq(T, H * D, b.ctx), dk(T, KV * D, b.ctx), dv(T, KV * D, b.ctx);
  std::vector<Segment> segments;
  for (int64_t s = 0; s < B; ++s) segments.push_back({s * rows, static_cast<int32_t>(rows), 0, -1});
  const auto forward = [&] {
    attention_forward({q.ref, k.ref, v.ref, o.ref, lse.ref, H, KV, D, segments, nullptr, DType::kBf16}, b.ctx);
  };
  const double flops = 2.0 * static_cast<double>(T) * static_cast<double>(rows) * H * D;  // half of the square
  const std::string size = std::to_string(B) + "x" + std::to_string(rows);
  b.report("attention forward " + size, b.seconds(forward), 0, flops);
  b.report("attention forward+backward " + size, b.seconds([&] {
    forward();
    attention_backward(
        {q.ref, k.ref, v.ref, o.ref, lse.ref, d_o.ref, dq.ref, dk.ref, dv.ref, H, KV, D, segments, DType::kBf16},
        b.ctx);
  }),
           0, 3.5 * flops);
}

// M1's four inference optimisations (facts of MiniMax-M1, section 5): as we do it, and without.
void m1(Bench& b) {
  const int H = 16, D = 128;
  const int64_t C = 2048, B = 128, prompt = 2048;
  // Products of one x share a launch: q, k, v in one, gate and output gate, as a decode step of 32 rows does them.
  Tensor x(32, C, b.ctx), w(C, C, b.ctx), y(32, 3 * C, b.ctx);
  std::vector<DeviceMemory> packed;
  std::vector<LinearForward> list;
  for (int i = 0; i < 3; ++i) {
    packed.push_back(allocate(packed_bytes(C, C, DType::kBf16), b.ctx));
    pack_weight(w.ref, DType::kBf16, packed.back().get(), b.ctx);
    list.push_back({x.ref, {packed.back().get(), DType::kBf16, C, C}, mat(y.ref.f32() + i * C, 32, C, 3 * C)});
  }
  b.compare(
      "m1 fused prologue", [&] { linear_forward_together(list, b.ctx); },
      [&] {
        for (const LinearForward& l : list) linear_forward(l, b.ctx);
      });

  const int64_t rows = B + prompt;
  Tensor qkv(rows, H * 3 * D, b.ctx), o(rows, H * D, b.ctx), pw(H, 65, b.ctx);
  Tensor state((B + 1) * H * D, D, b.ctx), k((B + 1) * H * 64, D, b.ctx), v(k.ref.dim[0], D, b.ctx);
  const LightningCache cache{state.ref.f32(), k.ref.data, v.ref.data, DType::kBf16, B + 1};
  std::vector<Segment> decode, mixed, fitting, padded;
  for (int32_t i = 0; i < B; ++i) decode.push_back({i, 1, 1000, i});
  mixed = decode;
  mixed.push_back({B, static_cast<int32_t>(prompt), 0, static_cast<int32_t>(B)});
  const std::vector<Segment> alone = {mixed.back()};
  // Prefill and decode rows on kernels and streams of their own in one step, against one after the other.
  const auto part = [&](const std::vector<Segment>& s) {
    const int64_t first = s.front().row0, n = s.back().row0 + s.back().rows - first;
    std::vector<Segment> own = s;
    for (Segment& piece : own) piece.row0 -= first;
    lightning_forward({mat(qkv.ref.f32() + first * H * 3 * D, n, H * 3 * D), mat(o.ref.f32() + first * H * D, n, H * D),
                       pw.ref.f32(), H, D, own, &cache, DType::kBf16},
                      b.ctx);
  };
  b.compare(
      "m1 prefill beside decode", [&] { part(mixed); }, [&] { part(decode), part(alone); });
  // Pieces of 16 rows, which take tiles of 16, against pieces of 17, which pay for 64.
  for (int32_t i = 0; i < B; ++i) fitting.push_back({i * 16, 16, 64, i}), padded.push_back({i * 17, 17, 64, i});
  b.compare(
      "m1 block sizes of padding", [&] { part(fitting); }, [&] { part(padded); });
  // All heads of all rows in one launch, against a launch for each head (columns of a head are strided).
  b.compare(
      "m1 strided heads", [&] { part(decode); },
      [&] {
        for (int h = 0; h < H; ++h)
          lightning_forward({mat(qkv.ref.f32() + h * 3 * D, B, 3 * D, H * 3 * D), mat(o.ref.f32() + h * D, B, D, H * D),
                             pw.ref.f32() + h * 65, 1, D, decode, &cache, DType::kBf16},
                            b.ctx);
      });
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

// Weights in fp32 (the model's) or bf16; on a device of its own, whose scratch memory is then the head's.
struct LmHead {
  int64_t T, C, V;
  std::unique_ptr<Bench> bench;
  std::string size = std::to_string(T) + "x" + std::to_string(C) + "x" + std::to_string(V);
  LmHead(int64_t rows, int64_t width, int64_t vocabulary, const Bench& limits)
      : T(rows), C(width), V(vocabulary), bench(std::make_unique<Bench>()) {
    bench->bandwidth = limits.bandwidth, bench->matrix_rate = limits.matrix_rate;
  }

  void measure(DType t, std::vector<std::string>& lines) {
    Bench& b = *bench;
    Tensor h(T, C, b.ctx), w(V, C, b.ctx), dh(T, C, b.ctx), dw(V, C, b.ctx), lse(T, 2, b.ctx);
    Tensor logprob(1, T, b.ctx), entropy(1, T, b.ctx), dlogprob(1, T, b.ctx);
    const auto flat = [this](const Tensor& x) { return vec(x.ref.f32(), T); };
    const DeviceMemory packed = allocate(packed_bytes(V, C, t), b.ctx);
    pack_weight(w.ref, t, packed.get(), b.ctx);
    const PackedWeight head{packed.get(), t, V, C};
    TensorRef rows = w.ref;
    if (t == DType::kBf16) rows.data = packed.get(), rows.dtype = t;
    std::vector<int32_t> target(static_cast<size_t>(T));
    for (size_t i = 0; i < target.size(); ++i) target[i] = static_cast<int32_t>((i * 7919) % static_cast<size_t>(V));
    const size_t before = bytes_free(b.ctx);
    const auto forward = [&] {
      lm_head_forward(
          {.h = h.ref, .w = head, .target = target, .logprob = flat(logprob), .entropy = flat(entropy), .lse = lse.ref},
          b.ctx);
    };
    const auto both = [&] {
      forward();
      lm_head_backward({.h = h.ref,
                        .w = head,
                        .w_rows = rows,
                        .target = target,
                        .lse = lse.ref,
                        .entropy = {},
                        .dlogprob = flat(dlogprob),
                        .dentropy = {},
                        .dh = dh.ref,
                        .dw = dw.ref},
                       b.ctx);
    };
    const double flops = 2.0 * static_cast<double>(T) * static_cast<double>(C * V);
    const std::string type = t == DType::kBf16 ? " bf16 " : " fp32 ";
    const size_t first = b.lines.size();
    b.report("lm head forward" + type + size, b.seconds(forward), 0, flops);
    b.report("lm head forward+backward" + type + size, b.seconds(both), 0, 4 * flops);  // logits are computed twice
    const size_t extra = before - std::min(before, bytes_free(b.ctx)) + (size_t{32} << 20);  // scratch taken at start
    b.lines.push_back("\"lm head" + type + size + " extra MB\": " + std::to_string(extra >> 20));
    lines.insert(lines.end(), b.lines.begin() + static_cast<std::ptrdiff_t>(first), b.lines.end());
  }
};

void adamw(Bench& b) {
  const int64_t n = int64_t{1} << 26;
  std::vector<Tensor> t;
  for (int i = 0; i < 4; ++i) t.emplace_back(1, n, b.ctx);
  const auto flat = [&](int i) { return vec(t[static_cast<size_t>(i)].ref.f32(), n); };
  AdamW a{flat(0), flat(1), flat(2), flat(3)};
  b.report("adamw 67M", b.seconds([&] { adamw_step({&a, 1}, b.ctx); }), 8.0 * 4 * static_cast<double>(n), 0);
}

void run_cases(Bench& b) {
  {
    LmHead head(4096, 2048, 32000, b);
    head.measure(DType::kF32, b.lines), head.measure(DType::kBf16, b.lines);
  }
  LmHead(16384, 2048, 32000, b).measure(DType::kBf16, b.lines);
  for (const int64_t M : {1, 16, 64, 512, 4096}) linear(b, DType::kBf16, M, 4096, 2048);
  for (const int64_t M : {1, 256, 2048}) linear(b, DType::kF32, M, 4096, 2048);
  lightning(b, 64, 1), lightning(b, 256, 1), lightning(b, 1, 8192, true), lightning(b, 8, 4096, true);
  gqa_decode(b, 32, 4096), gqa_decode(b, 128, 4096);
  attention(b, 8, 4096);
  for (const int64_t rows : {32, 256, 16384}) grouped(b, rows);
  adamw(b);
  m1(b);
  linear_by_library(b);
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
  }
  const double mma = measure_mma_rate(), wgmma = measure_wgmma_rate();
  b.matrix_rate = std::max({mma, wgmma, 1.0});
  std::printf("%s: copy %.0f GB/s, mma.sync %.0f TFLOP/s, wgmma %.0f TFLOP/s\n", facts.text.c_str(), b.bandwidth * 1e-9,
              mma * 1e-12, wgmma * 1e-12);
  std::ostringstream limits;
  limits << "{\"device\": \"" << facts.text << "\", \"copy_GB_per_s\": " << b.bandwidth * 1e-9
         << ", \"mma_TFLOP_per_s\": " << mma * 1e-12 << ", \"wgmma_TFLOP_per_s\": " << wgmma * 1e-12
         << ", \"matrix_TFLOP_per_s\": " << b.matrix_rate * 1e-12;
  b.head = limits.str();
  if (argc > 1) b.path = argv[1];
  int code = 0;
  try {
    run_cases(b);
  } catch (const std::exception& e) {  // what was measured before it counts all the same
    std::fprintf(stderr, "gpu_bench: %s\n", e.what());
    code = 1;
  }
  b.write();
  return code;
}
