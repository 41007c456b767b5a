// Block-aligned lightning attention against the plain recurrence, and softmax attention against the limits of the
// machine.

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/lightning.h"
#include "tests/bench/bench.h"
#include "tests/bench/limits.h"

namespace fulmen::bench {
namespace {

using kernels::Context;
using kernels::DType;
using kernels::mat;
using kernels::Segment;
using kernels::ThreadPool;

constexpr int kBlock = kernels::kLightningBlock;
constexpr int kD = 128;  // MiniMax's head width

const char* name_of(DType t) { return t == DType::kF32 ? "f32" : "bf16"; }
size_t product(int64_t a, int64_t b, int64_t c = 1) { return static_cast<size_t>(a * b * c); }

// A cache of `values` numbers of type t, in fp32 storage units. Random bf16 pairs are numbers of any size, so those are
// all small ones.
FloatBuffer cache_values(size_t values, DType t) {
  if (t == DType::kF32) return random_floats(values, 9);
  FloatBuffer b = random_floats(values / 2, 9);
  uint16_t half;
  for (size_t i = 0; i < values; ++i) {
    const float x = 0.25f + static_cast<float>(i % 5) / 8;
    std::memcpy(&half, reinterpret_cast<const char*>(&x) + 2, 2);
    std::memcpy(reinterpret_cast<char*>(b.get()) + 2 * i, &half, 2);
  }
  return b;
}

struct Decays {
  explicit Decays(int heads, int layer) : H(heads), pw(product(heads, kBlock + 1)) {
    std::vector<float> slope(heads);
    kernels::lightning_slopes(H, layer, 80, slope.data());
    kernels::lightning_decay_table(slope.data(), H, pw.data());
  }
  int H;
  std::vector<float> pw;
};

// `sequences` in one layer of 64 heads, spread evenly over the block; a call is 64 steps, so each advances its state
// once.
class LightningDecode {
 public:
  LightningDecode(int sequences, Context& ctx)
      : n_(sequences),
        ctx_(ctx),
        decays_(64, 0),
        qkv_(random_floats(product(n_, 64 * 3 * kD), 1)),
        o_(random_floats(product(n_, 64 * kD), 2)),
        state_(random_floats(product(n_, 64, kD * kD), 3)) {}

  void recurrent() {
    for (int i = 0; i < kBlock; ++i)
      lightning_recurrent_step(
          {.qkv = qkv(), .o = o(), .pw = decays_.pw.data(), .H = 64, .D = kD, .state = state_.get()}, ctx_);
  }
  void blocks(const kernels::LightningCache& cache) {
    std::vector<Segment> s(n_);
    for (int i = 0; i < kBlock; ++i) {
      for (int b = 0; b < n_; ++b) s[b] = {b, 1, 2 * kBlock + b * kBlock / n_ + i, b};
      lightning_forward(
          {.qkv = qkv(), .o = o(), .pw = decays_.pw.data(), .H = 64, .D = kD, .segments = s, .cache = &cache}, ctx_);
    }
  }
  float* state() { return state_.get(); }

 private:
  kernels::TensorRef qkv() const { return mat(qkv_.get(), n_, 64 * 3 * kD); }
  kernels::TensorRef o() const { return mat(o_.get(), n_, 64 * kD); }
  int n_;
  Context& ctx_;
  Decays decays_;
  FloatBuffer qkv_, o_, state_;
};

void decode_row(int n, int threads, const Options& options) {
  const std::string name = "decode, " + std::to_string(n) + (n == 1 ? " sequence" : " sequences");
  if (name.find(options.filter) == std::string::npos) return;
  ThreadPool pool(threads);
  Context ctx = cpu_context(pool);
  LightningDecode bench(n, ctx);
  const size_t values = product(n, 64, kBlock * kD);
  const FloatBuffer k32 = cache_values(values, DType::kF32), v32 = cache_values(values, DType::kF32);
  const FloatBuffer k16 = cache_values(values, DType::kBf16), v16 = cache_values(values, DType::kBf16);
  const kernels::LightningCache f32{bench.state(), k32.get(), v32.get(), DType::kF32, n};
  const kernels::LightningCache bf16{bench.state(), k16.get(), v16.get(), DType::kBf16, n};
  const Race::Result r = Race::run({{"recurrent", [&] { bench.recurrent(); }},
                                    {"blocks f32", [&] { bench.blocks(f32); }},
                                    {"blocks bf16", [&] { bench.blocks(bf16); }}},
                                   options, threads > 1);
  const std::string row = "lightning " + name + ", threads " + std::to_string(threads) + ", bf16 block";
  std::printf("%-24s %7d %12.1f %12.1f %12.1f %10s %16s %8.0f%%\n", name.c_str(), threads, r.seconds[0] / kBlock * 1e6,
              r.seconds[1] / kBlock * 1e6, r.seconds[2] / kBlock * 1e6, ratio_text(r.ratio[1], r.quiet()).c_str(),
              judge(row, r.ratio[2], {Bar::kAtMost, 1.6}, r.quiet()).c_str(), 100 * r.others);
  std::fflush(stdout);
}

void learner_row(int T, int threads, const Options& options) {
  const std::string name = "learner, " + std::to_string(T) + " tokens";
  if (name.find(options.filter) == std::string::npos) return;
  constexpr int H = 8;
  ThreadPool pool(threads);
  Context ctx = cpu_context(pool);
  const Decays decays(H, 40);
  const FloatBuffer qkv = random_floats(product(T, H * 3 * kD), 1), o = random_floats(product(T, H * kD), 2);
  const FloatBuffer state = random_floats(product(H, kD * kD), 3), dqkv = random_floats(product(T, H * 3 * kD), 4);
  const std::vector<Segment> segments = {{0, T, 0, -1}};
  const auto rows = [&](const FloatBuffer& x, int width) { return mat(x.get(), T, width); };
  const Race::Result r =
      Race::run({{"recurrent",
                  [&] {
                    for (int t = 0; t < T; ++t)
                      lightning_recurrent_step({.qkv = mat(qkv.get() + product(t, H * 3 * kD), 1, H * 3 * kD),
                                                .o = mat(o.get() + product(t, H * kD), 1, H * kD),
                                                .pw = decays.pw.data(),
                                                .H = H,
                                                .D = kD,
                                                .state = state.get()},
                                               ctx);
                  }},
                 {"blocks",
                  [&] {
                    lightning_forward({.qkv = rows(qkv, H * 3 * kD),
                                       .o = rows(o, H * kD),
                                       .pw = decays.pw.data(),
                                       .H = H,
                                       .D = kD,
                                       .segments = segments},
                                      ctx);
                  }},
                 {"gradient",
                  [&] {
                    lightning_backward({.qkv = rows(qkv, H * 3 * kD),
                                        .d_o = rows(o, H * kD),
                                        .dqkv = rows(dqkv, H * 3 * kD),
                                        .pw = decays.pw.data(),
                                        .H = H,
                                        .D = kD,
                                        .segments = segments},
                                       ctx);
                  }}},
                options, threads > 1);
  const double per = 1e9 / (static_cast<double>(T) * H);
  const std::string row = "lightning " + name + ", threads " + std::to_string(threads) + ", blocks";
  std::printf("%-24s %7d %12.0f %12.0f %12.0f %16s %10s %8.0f%%\n", name.c_str(), threads, r.seconds[0] * per,
              r.seconds[1] * per, r.seconds[2] * per, judge(row, r.ratio[1], {Bar::kAtMost, 1.0}, r.quiet()).c_str(),
              ratio_text(r.ratio[2], r.quiet()).c_str(), 100 * r.others);
  std::fflush(stdout);
}

void run_lightning(const Options& options) {
  std::printf("%-24s %7s %12s %12s %12s %10s %16s %9s\n", "64 heads; us per step", "threads", "recurrent", "f32 block",
              "bf16 block", "f32 ratio", "bf16 ratio", "others");
  for (int threads : options.threads)
    for (int n : {1, 4, 16}) decode_row(n, threads, options);
  std::printf("%-24s %7s %12s %12s %12s %16s %10s %9s\n", "ns per token and head", "threads", "recurrent", "blocks",
              "gradient", "ratio", "gradient", "others");
  for (int threads : options.threads) learner_row(2048, threads, options);
}

// One decode step of `n` sequences with `context` cached tokens: K and V are read once.
void softmax_decode_row(int n, int context, int group, DType kv, int threads, const Options& options) {
  constexpr int KV = 8;
  const int H = KV * group, pages = context / kernels::kAttentionTile;
  const std::string name = std::to_string(n) + " x " + std::to_string(context) + ", " + std::to_string(group) +
                           " heads per kv, " + name_of(kv);
  if (name.find(options.filter) == std::string::npos) return;
  ThreadPool pool(threads);
  Context ctx = cpu_context(pool);
  const size_t values = product(n, context, KV * kD);
  const FloatBuffer k = cache_values(values, kv), v = cache_values(values, kv);
  std::vector<int32_t> table(product(n, pages));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  const kernels::PagedKvCache cache{k.get(), v.get(), kv, table.data(), pages};
  const FloatBuffer q = random_floats(product(n, H * kD), 1), kn = random_floats(product(n, KV * kD), 2);
  const FloatBuffer o = random_floats(product(n, H * kD), 3);
  std::vector<Segment> segments;
  for (int i = 0; i < n; ++i) segments.push_back({i, 1, context - 1, i});
  const auto step = [&] {
    attention_forward({.q = mat(q.get(), n, H * kD),
                       .k = mat(kn.get(), n, KV * kD),
                       .v = mat(kn.get(), n, KV * kD),
                       .o = mat(o.get(), n, H * kD),
                       .H = H,
                       .KV = KV,
                       .D = kD,
                       .segments = segments,
                       .cache = &cache},
                      ctx);
  };
  Race::Result r;
  const Limits l = limits_around(threads, [&] { r = Race::run({{"ours", step}}, options, threads > 1); });
  const double gb = 2e-9 * static_cast<double>(values) * static_cast<double>(kernels::dtype_bytes(kv));
  const std::string row = "softmax decode " + name + ", threads " + std::to_string(threads);
  std::printf(
      "%-32s %7d %8.1f %10.1f %16s %8.0f%%\n", name.c_str(), threads, gb / r.seconds[0],
      4e-9 * n * context * H * kD / r.seconds[0],
      judge(row, gb / r.seconds[0] / l.read_gbs, {Bar::kAtLeast, 0.75}, r.quiet() && l.others <= Quiet::kLimit).c_str(),
      100 * r.others);
  std::fflush(stdout);
}

// Learner: sequences of T tokens packed into 2048 rows.
void softmax_learner_row(int T, int group, int threads, const Options& options) {
  constexpr int KV = 2, R = 2048;
  const int H = KV * group;
  const std::string name =
      std::to_string(R / T) + " x " + std::to_string(T) + ", " + std::to_string(group) + " heads per kv";
  if (name.find(options.filter) == std::string::npos) return;
  ThreadPool pool(threads);
  Context ctx = cpu_context(pool);
  std::vector<FloatBuffer> x;
  const auto fresh = [&](int width) {
    x.push_back(random_floats(product(R, width), static_cast<unsigned>(x.size())));
    return mat(x.back().get(), R, width);
  };
  std::vector<Segment> s;
  for (int64_t row = 0; row < R; row += T) s.push_back({row, T, 0, -1});
  const auto q = fresh(H * kD), k = fresh(KV * kD), v = fresh(KV * kD), o = fresh(H * kD), lse = fresh(H),
             g = fresh(H * kD), dq = fresh(H * kD), dk = fresh(KV * kD), dv = fresh(KV * kD);
  const auto forward = [&] {
    attention_forward({.q = q, .k = k, .v = v, .o = o, .lse = lse, .H = H, .KV = KV, .D = kD, .segments = s}, ctx);
  };
  const auto backward = [&] {
    attention_backward({.q = q,
                        .k = k,
                        .v = v,
                        .o = o,
                        .lse = lse,
                        .d_o = g,
                        .dq = dq,
                        .dk = dk,
                        .dv = dv,
                        .H = H,
                        .KV = KV,
                        .D = kD,
                        .segments = s},
                       ctx);
  };
  const Race::Result r = Race::run({{"forward", forward}, {"gradient", backward}}, options, threads > 1);
  const double gflop = 2e-9 * R * T * H * kD, peak = limits(threads).fma_gflops;  // causal half of 4 T^2 D
  const bool quiet = r.quiet() && limits(threads).others <= Quiet::kLimit;
  std::printf("%-32s %7d %10.1f %7s %10.1f %7s %8.0f%%\n", name.c_str(), threads, gflop / r.seconds[0],
              share_text(gflop / r.seconds[0] / peak, quiet).c_str(), 2.5 * gflop / r.seconds[1],
              share_text(2.5 * gflop / r.seconds[1] / peak, quiet).c_str(), 100 * r.others);
  std::fflush(stdout);
}

void run_attention(const Options& options) {
  std::printf("%-32s %7s %8s %10s %16s %9s\n", "decode: sequences x context", "threads", "GB/s", "GFLOP/s",
              "of read rate", "others");
  for (int threads : options.threads)
    for (DType kv : {DType::kF32, DType::kBf16})
      for (int group : {1, 8}) {
        softmax_decode_row(4, 4096, group, kv, threads, options);
        softmax_decode_row(1, 16384, group, kv, threads, options);
      }
  std::printf("%-32s %7s %10s %7s %10s %7s %9s\n", "learner: sequences x tokens", "threads", "GFLOP/s", "of peak",
              "gradient", "of peak", "others");
  for (int threads : options.threads)
    for (int group : {1, 8})
      for (int T : {128, 2048}) softmax_learner_row(T, group, threads, options);
}

const bool kLightning =
    register_table("lightning", "block-aligned lightning attention; ratios are its time over the plain recurrence's",
                   run_lightning, 20);
const bool kAttention = register_table(
    "attention", "softmax attention: decode against DRAM read bandwidth, learner against FMA peak", run_attention, 55);

}  // namespace
}  // namespace fulmen::bench
