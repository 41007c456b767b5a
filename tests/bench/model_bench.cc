// The whole model on the shapes T, S, M: decode, prefill and a training step, as shares of bounds computed
// from limits measured in the same run.
//
//   decode   bound = max(bytes / read bandwidth, flops / FMA peak); bytes = weights of the experts that this routing
//            touches, attention weights, head, KV of the context (read), lightning state (read; written once in 64
//            steps)
//   prefill, training: useful flops (2 per weight and row; attention by its triangle; 3x for forward + backward) / FMA
//   peak
//
// Weights are random, so routing is as even as it gets: all distinct experts counted are those really chosen.

#include <fmt/core.h>

#include <cmath>
#include <cstdio>
#include <numeric>
#include <set>

#include "kernels/sampler.h"
#include "learner/trainer.h"
#include "shared/base/rng.h"
#include "tests/bench/bench.h"
#include "tests/bench/limits.h"

namespace fulmen::bench {
namespace {

using kernels::DType;
using kernels::Segment;
using model::ModelConfig;

ModelConfig shape_config(char name) {
  const int C = name == 'T' ? 128 : name == 'S' ? 256 : 512, H = name == 'M' ? 8 : 4, KV = name == 'M' ? 2 : 1;
  const int D = name == 'T' ? 32 : 64, V = name == 'T' ? 512 : name == 'S' ? 4096 : 32000;
  return model::parse_model_config(
      fmt::format(R"({{"hidden_size":{},"intermediate_size":{},"num_hidden_layers":8,"num_attention_heads":{},)"
                  R"("num_key_value_heads":{},"head_dim":{},"rotary_dim":{},"num_local_experts":32,)"
                  R"("num_experts_per_tok":2,"vocab_size":{},"attn_type_list":[0,0,0,0,0,0,0,1],"postnorm":true,)"
                  R"("rope_theta":10000,"model_type":"minimax_m1","architectures":["MiniMaxM1ForCausalLM"],)"
                  R"("initializer_range":0.06}})",
                  C, C, H, KV, D, D / 2, V),
      "bench shape");
}

struct Counts {  // multiply-adds per row outside the experts and attention, and sizes
  double dense = 0, expert = 0, state_floats = 0, kv_floats_per_token = 0;
  explicit Counts(const ModelConfig& c) {
    for (int l = 0; l < c.num_layers; ++l) {
      const double C = static_cast<double>(c.hidden_size), A = c.num_heads * c.head_dim;
      dense += c.softmax_layer(l) ? 2 * C * A + 2 * C * c.num_kv_heads * c.head_dim : 5 * C * A;
      dense += C * c.num_experts;
      if (c.softmax_layer(l))
        kv_floats_per_token += 2.0 * c.num_kv_heads * c.head_dim;
      else
        state_floats += static_cast<double>(c.num_heads) * c.head_dim * c.head_dim;
    }
    dense += static_cast<double>(c.hidden_size * c.vocab_size);
    expert = 3.0 * static_cast<double>(c.hidden_size * c.intermediate_size);
  }
};

class RoutedExperts
    : public model::Observer {  // distinct experts per layer of the last forward, from the router's logits
 public:
  explicit RoutedExperts(int top_k, int64_t E) : top_k_(top_k), E_(E) {}
  int64_t distinct = 0;
  void see(int, const char*, const kernels::TensorRef& rows) override {
    if (rows.dim[1] != E_) return;
    std::set<int64_t> chosen;
    std::vector<int64_t> order(static_cast<size_t>(E_));
    for (int64_t t = 0; t < rows.dim[0]; ++t) {
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + top_k_, order.end(),
                        [&](int64_t a, int64_t b) { return rows.row(t)[a] > rows.row(t)[b]; });
      chosen.insert(order.begin(), order.begin() + top_k_);
    }
    distinct += static_cast<int64_t>(chosen.size());
  }

 private:
  int top_k_;
  int64_t E_;
};

// One shape in memory at a time: random weights of M take seconds to draw.
struct Bench {
  char name;
  DType dtype;
  int threads;
  ModelConfig config;
  kernels::ThreadPool pool;
  kernels::Context ctx;
  model::Weights weights;
  base::Stream rng{1, base::Purpose::kTest};
  Bench(char name_, DType dtype_, int threads_)
      : name(name_),
        dtype(dtype_),
        threads(threads_),
        config(shape_config(name)),
        pool(threads),
        ctx(kernels::cpu_context(pool)),
        weights(config, dtype) {
    weights.init_random(1);
    weights.pack(ctx);
  }
  std::vector<int32_t> tokens(int64_t n) {
    std::vector<int32_t> t;
    for (int64_t i = 0; i < n; ++i) t.push_back(static_cast<int32_t>(rng.next_int(0, config.vocab_size - 1)));
    return t;
  }
  static Bench& of(char name, DType dtype, int threads) {
    static std::unique_ptr<Bench> held;
    if (held && held->name == name && held->dtype == dtype && held->threads == threads) return *held;
    held.reset();
    held = std::make_unique<Bench>(name, dtype, threads);
    return *held;
  }
};

struct Timing {
  double seconds;
  Limits limits;
  double others;
};

Timing time_alone(const std::function<void()>& step, int threads, const Options& options) {
  Race::Result r;
  const Limits l = limits_around(threads, [&] { r = Race::run({{"step", step}}, options, threads > 1); });
  return {r.seconds[0], l, std::max(r.others, l.others)};
}

// wanted: the bar, 0 where none is set.
void print(const std::string& name, double tokens, double bound_seconds, double wanted, const Timing& t) {
  const bool quiet = t.others <= Quiet::kLimit;
  const double share = bound_seconds / t.seconds;
  const std::string row = fmt::format("model {}, threads {}", name, t.limits.threads);
  const std::string text = wanted > 0 ? judge(row, share, {Bar::kAtLeast, wanted}, quiet) : ratio_text(share, quiet);
  std::printf("%-34s %7d %12.0f %16s %9.0f %9.1f %8.0f%%\n", name.c_str(), t.limits.threads, tokens / t.seconds,
              text.c_str(), t.limits.fma_gflops, t.limits.read_gbs, 100 * t.others);
  std::fflush(stdout);
}

void decode(char name, int B, DType dtype, int threads, const Options& options) {
  const std::string title = fmt::format("{} {} decode, batch {}", name, dtype == DType::kF32 ? "f32" : "bf16", B);
  if (title.find(options.filter) == std::string::npos) return;
  Bench& b = Bench::of(name, dtype, threads);
  constexpr int kContext = 128;
  const int64_t pages = 4;
  model::Cache cache(b.config, DType::kF32, B, B * pages, pages);
  for (int s = 0; s < B; ++s)
    for (int64_t p = 0; p < pages; ++p) cache.set_page(s, p, static_cast<int32_t>(s * pages + p));
  model::Transformer transformer(b.weights, DType::kF32, b.ctx);
  const int64_t C = b.config.hidden_size;
  model::Buffer hidden(static_cast<size_t>(B) * kContext * static_cast<size_t>(C)),
      logits(static_cast<size_t>(B * b.config.vocab_size));
  std::vector<Segment> segments;
  for (int s = 0; s < B; ++s) segments.push_back({s * kContext, kContext, 0, s});
  auto prompt = b.tokens(static_cast<int64_t>(B) * kContext);
  transformer.forward({prompt, segments}, &cache, nullptr, kernels::mat(hidden.data(), B * kContext, C));

  int pos = kContext;
  RoutedExperts experts(b.config.top_k, b.config.num_experts);
  std::vector<int32_t> next = b.tokens(B), chosen(static_cast<size_t>(B));
  std::vector<float> logprob(static_cast<size_t>(B));
  const std::vector<kernels::SamplingSettings> settings(static_cast<size_t>(B));
  const std::vector<double> u(static_cast<size_t>(B), 0.37);
  const auto step = [&](model::Observer* observer) {
    for (int s = 0; s < B; ++s) segments[static_cast<size_t>(s)] = {s, 1, pos, s};
    transformer.forward({next, segments}, &cache, nullptr, kernels::mat(hidden.data(), B, C), observer);
    transformer.logits(kernels::mat(hidden.data(), B, C), kernels::mat(logits.data(), B, b.config.vocab_size));
    kernels::sample_rows({kernels::mat(logits.data(), B, b.config.vocab_size), settings, u, chosen, logprob}, b.ctx);
    next = chosen;
    if (++pos >= kContext + 100) pos = kContext;  // stays within the pages; rewriting positions costs the same
  };
  step(&experts);
  const Timing time = time_alone([&] { step(nullptr); }, threads, options);
  const Counts n(b.config);
  const double wb = dtype == DType::kF32 ? 4 : 2, V = static_cast<double>(b.config.vocab_size);
  const double head = static_cast<double>(C) * V;
  const double bytes = wb * (n.dense - head + static_cast<double>(experts.distinct) * n.expert) + 4 * head +
                       4.0 * B * (n.state_floats + n.kv_floats_per_token * kContext);
  const double flops = 2.0 * B * (n.dense + b.config.num_layers * b.config.top_k * n.expert) + 4.0 * B * n.state_floats;
  const double wanted = name != 'M' || dtype != DType::kF32 ? 0 : B <= 8 ? 0.80 : 0.65;
  print(title, B, std::max(bytes / time.limits.read_gbs, flops / time.limits.fma_gflops) * 1e-9, wanted, time);
}

double forward_flops(const Bench& b, double rows, double length) {  // rows in sequences of `length`
  const Counts n(b.config);
  double attention = 0;
  for (int l = 0; l < b.config.num_layers; ++l) {
    const double A = b.config.num_heads * b.config.head_dim, D = b.config.head_dim;
    attention += b.config.softmax_layer(l) ? 2 * A * length : A * (2 * 64 + 4 * D);
  }
  return rows * (2 * (n.dense + b.config.num_layers * b.config.top_k * n.expert) + attention);
}

void prefill(char name, int threads, const Options& options) {
  const std::string title = fmt::format("{} f32 prefill, 512 tokens", name);
  if (title.find(options.filter) == std::string::npos) return;
  Bench& b = Bench::of(name, DType::kF32, threads);
  model::Cache cache(b.config, DType::kF32, 1, 8, 8);
  for (int p = 0; p < 8; ++p) cache.set_page(0, p, p);
  model::Transformer transformer(b.weights, DType::kF32, b.ctx);
  const int64_t C = b.config.hidden_size;
  model::Buffer hidden(static_cast<size_t>(512 * C));
  const auto prompt = b.tokens(512);
  const Segment whole{0, 512, 0, 0};
  const Timing time = time_alone(
      [&] {
        transformer.forward({prompt, {&whole, 1}}, &cache, nullptr, kernels::mat(hidden.data(), 512, C));
      },
      threads, options);
  // The head runs for the last row only, so its multiply-adds do not count here.
  const double flops = forward_flops(b, 512, 512) - 2.0 * 512 * static_cast<double>(C * b.config.vocab_size);
  print(title, 512, flops / time.limits.fma_gflops * 1e-9, 0.45, time);
}

void training(char name, int threads, const Options& options) {
  const std::string title = fmt::format("{} f32 training step, 4096 tokens", name);
  if (title.find(options.filter) == std::string::npos) return;
  Bench& b = Bench::of(name, DType::kF32, threads);
  learner::Trainer trainer(b.weights, DType::kF32, false, 4096, b.ctx);
  std::vector<std::vector<int32_t>> text;
  std::vector<learner::Sequence> sequences;
  for (int i = 0; i < 8; ++i) text.push_back(b.tokens(513));
  for (const auto& t : text) sequences.push_back({std::span(t).first(1), std::span(t).subspan(1)});
  const auto step = [&] {
    trainer.accumulate(
        sequences, 1, false,
        [](size_t, std::span<const float>, std::span<const float>, std::span<float> d, std::span<float>) {
          for (float& x : d) x = -1.0f / 4096;
        });
    trainer.optimizer_step({.lr = 0});  // the same work; the weights serve other rows
  };
  const Timing time = time_alone(step, threads, options);
  print(title, 4096, 3 * forward_flops(b, 4096, 512) / time.limits.fma_gflops * 1e-9, name == 'S' ? 0.40 : 0, time);
}

void run(const Options& options) {
  std::printf("%-34s %7s %12s %16s %9s %9s %9s\n", "whole model", "threads", "tokens/s", "of bound", "GFLOP/s", "GB/s",
              "others");
  for (const int threads : options.threads)
    for (const char name : {'T', 'S', 'M'}) {
      if (name == 'M' && options.quick) continue;  // seconds to draw, gigabytes to hold
      for (const int B : {1, 8, 32}) decode(name, B, DType::kF32, threads, options);
      prefill(name, threads, options);
      // A step of M takes ten seconds and 6 GB, and its weights take seconds to draw again: once, on all threads.
      const bool last = threads == options.threads.back();
      if (name != 'M' || last) training(name, threads, options);
      for (const int B : {1, 8, 32})
        if (name == 'M' && last) decode(name, B, DType::kBf16, threads, options);
    }
}

const bool kRegistered =
    register_table("model", "whole model on shapes T, S, M: decode, prefill, training step", run, 240);

}  // namespace
}  // namespace fulmen::bench
