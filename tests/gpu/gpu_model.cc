// A random M1-shaped model on one device: do rollout and learner agree to the bit, and how fast are decode at several
// batches and contexts, prefill, and a training step. Writes one JSON object; a part that cannot be run is null, with
// the reason beside it. usage: gpu_model [--device cuda|cpu] [--shape tiny|G1] [--out FILE] [--copy GB/s] [--matrix
// TFLOP/s]

#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <thread>

#include "kernels/device.h"
#include "kernels/recording.h"
#include "kernels/sampler.h"
#include "learner/trainer.h"
#include "rollout/engine.h"
#include "shared/base/rng.h"

namespace {

using namespace fulmen;
using kernels::mat;
using kernels::Segment;
using Clock = std::chrono::steady_clock;

struct Shape {
  model::ModelConfig config;
  std::vector<int> batches;
  std::vector<int64_t> contexts;
  int64_t train_tokens, train_length, prefill_rows;
};

model::ModelConfig config_of(int C, int L, int H, int kv, int D, int F, int E, int V) {
  std::string layers = "0";
  for (int l = 1; l < L; ++l) layers += l % 8 == 7 ? ",1" : ",0";
  return model::parse_model_config(
      fmt::format(R"({{"hidden_size":{},"intermediate_size":{},"num_hidden_layers":{},"num_attention_heads":{},)"
                  R"("num_key_value_heads":{},"head_dim":{},"rotary_dim":{},"num_local_experts":{},)"
                  R"("num_experts_per_tok":2,"vocab_size":{},"attn_type_list":[{}],"postnorm":true,)"
                  R"("rope_theta":10000000,"model_type":"minimax_m1","architectures":["MiniMaxM1ForCausalLM"],)"
                  R"("initializer_range":0.02}})",
                  C, F, L, H, kv, D, D / 2, E, V, layers),
      "shape of gpu_model");
}

Shape shape_of(const std::string& name) {
  if (name == "tiny") return {config_of(64, 8, 2, 1, 32, 64, 4, 211), {1, 4}, {256, 1024}, 512, 128, 128};
  return {
      config_of(1024, 16, 8, 2, 128, 1024, 32, 32000), {1, 64, 256}, {1024, 32768, 262144, 1048576}, 32768, 4096, 8192};
}

struct Run {
  Shape shape;
  kernels::ThreadPool pool{std::max(1, static_cast<int>(std::thread::hardware_concurrency()))};
  kernels::Device device;
  kernels::Context& ctx;
  model::Weights weights;
  kernels::DType kv = kernels::DType::kBf16;
  double copy = 0, matrix = 0;  // bytes/s, flop/s; 0 = not known
  std::map<std::string, std::string> json;
  std::vector<std::string> order;
  std::string out;  // where the JSON goes, whole after every result

  Run(const std::string& shape_name, const std::string& choice)
      : shape(shape_of(shape_name)),
        device(choice, pool),
        ctx(device.context()),
        weights(shape.config, {kernels::DType::kBf16, kernels::DType::kBf16}) {
    for (size_t i = 0; i < weights.num_tensors(); ++i) {  // quick: a billion normal numbers take a minute
      const std::span<float> values = weights.tensor(i);
      const bool norm = weights.specs()[i].shape.size() == 1;
      pool.parallel_for(static_cast<int64_t>(values.size()), 1 << 16, [&](int64_t begin, int64_t end, int) {
        uint64_t x = static_cast<uint64_t>(begin) * 0x9e3779b97f4a7c15u + i + 1;
        for (int64_t j = begin; j < end; ++j) {
          x ^= x << 13, x ^= x >> 7, x ^= x << 17;
          values[static_cast<size_t>(j)] = norm ? 1 : (static_cast<float>(x >> 40) * 0x1p-24f - 0.5f) * 0.07f;
        }
      });
    }
    weights.pack(ctx);
  }

  std::vector<int32_t> tokens(int64_t n, uint64_t seed) const {
    base::Stream rng(seed, base::Purpose::kTest);
    std::vector<int32_t> t;
    for (int64_t i = 0; i < n; ++i) t.push_back(static_cast<int32_t>(rng.next_int(0, shape.config.vocab_size - 1)));
    return t;
  }

  void put(const std::string& name, const std::string& value) {
    std::printf("%-32s %s\n", name.c_str(), value.c_str());
    std::fflush(stdout);
    json[name] = value;
    order.push_back(name);
    if (out.empty()) return;
    {
      std::ofstream file(out + ".new");
      for (size_t i = 0; i < order.size(); ++i)
        file << (i == 0 ? "{" : ",\n") << "\"" << order[i] << "\": " << json[order[i]];
      file << "}\n";
    }
    std::rename((out + ".new").c_str(), out.c_str());
  }

  template <class F>
  void part(const std::string& name, F&& f) {
    try {
      put(name, f());
    } catch (const std::exception& e) {
      std::string reason = e.what();
      for (char& c : reason)
        if (c == '"' || c == '\\' || c == '\n') c = '\'';
      put(name, "null");
      put(name + " (why)", "\"" + reason + "\"");
    }
  }

  // Seconds of one call, after two to warm up.
  template <class F>
  double seconds(int calls, F&& f) {
    f(), f();
    kernels::synchronize(ctx);
    const auto begin = Clock::now();
    for (int i = 0; i < calls; ++i) f();
    kernels::synchronize(ctx);
    return std::chrono::duration<double>(Clock::now() - begin).count() / calls;
  }
};

double parameters_per_row(const model::ModelConfig& c) {  // multiply-adds outside of attention
  double n = static_cast<double>(c.hidden_size) * c.vocab_size;
  for (int l = 0; l < c.num_layers; ++l) {
    const double C = c.hidden_size, A = double{1} * c.num_heads * c.head_dim;
    n += c.softmax_layer(l) ? 2 * C * A + 2 * C * c.num_kv_heads * c.head_dim : 5 * C * A;
    n += C * c.num_experts + 3.0 * C * c.intermediate_size * c.top_k;
  }
  return n;
}

double attention_flops(const model::ModelConfig& c, double length) {  // of a row in a sequence of this length, forward
  double n = 0;
  for (int l = 0; l < c.num_layers; ++l) {
    const double A = double{1} * c.num_heads * c.head_dim;
    n += c.softmax_layer(l) ? 2 * A * length : A * (2 * 64 + 4.0 * c.head_dim);
  }
  return n;
}

// Bytes that a decode step cannot but read: weights (of the experts that B rows are expected to reach), states and KV.
double decode_bytes(const Run& r, int B, int64_t context) {
  const model::ModelConfig& c = r.shape.config;
  const double C = c.hidden_size, A = double{1} * c.num_heads * c.head_dim, E = c.num_experts;
  const double reached = E * (1 - std::pow(1 - c.top_k / E, B));
  double bytes = C * c.vocab_size * 2;
  for (int l = 0; l < c.num_layers; ++l) {
    const double kv = double{1} * c.num_kv_heads * c.head_dim;
    bytes += c.softmax_layer(l) ? (2 * C * A + 2 * C * kv) * 2 + B * static_cast<double>(context) * 2 * kv * 2
                                : 5 * C * A * 2 + B * A * (c.head_dim * 4.0 + 2 * 32 * 2);
    bytes += C * E * 4 + reached * 3 * C * c.intermediate_size * 2;
  }
  return bytes;
}

// B sequences at a context, decoded by the calls of a rollout step. Returns decode and prefill tokens/s.
std::string decode(Run& r, int B, int64_t context) {
  const model::ModelConfig& c = r.shape.config;
  const int64_t pages = (context + 128) / 64 + 1, C = c.hidden_size, rows = std::max<int64_t>(r.shape.prefill_rows, B);
  model::Cache cache(c, r.kv, B, B * pages, pages, &r.ctx);
  for (int s = 0; s < B; ++s)
    for (int64_t p = 0; p < pages; ++p) cache.set_page(s, p, static_cast<int32_t>(s * pages + p));
  model::Transformer transformer(r.weights, r.kv, r.ctx);
  model::Buffer hidden(static_cast<size_t>(rows * C), r.ctx), logits(static_cast<size_t>(B * c.vocab_size), r.ctx);
  const auto begin = Clock::now();
  for (int s = 0; s < B; ++s)
    for (int64_t at = 0; at < context; at += r.shape.prefill_rows) {
      const int64_t n = std::min(r.shape.prefill_rows, context - at);
      const Segment piece{0, static_cast<int32_t>(n), static_cast<int32_t>(at), s};
      const auto text = r.tokens(n, static_cast<uint64_t>(at));
      transformer.forward({text, {&piece, 1}}, &cache, nullptr, mat(hidden.data(), n, C));
    }
  kernels::synchronize(r.ctx);
  const double prefill = std::chrono::duration<double>(Clock::now() - begin).count();

  std::vector<int32_t> next = r.tokens(B, 1), chosen(next.size());
  std::vector<float> logprob(next.size());
  std::vector<Segment> segments(next.size());
  const std::vector<kernels::SamplingSettings> settings(next.size());
  const std::vector<double> u(next.size(), 0.37);
  int32_t at = static_cast<int32_t>(context);
  const double s = r.seconds(32, [&] {
    for (int i = 0; i < B; ++i) segments[static_cast<size_t>(i)] = {i, 1, at, i};
    cache.send_page_table();
    kernels::Recording step(static_cast<uint64_t>(kernels::decode_bucket(B)), r.ctx);
    transformer.forward({next, segments}, &cache, nullptr, mat(hidden.data(), B, C));
    transformer.logits(mat(hidden.data(), B, C), mat(logits.data(), B, c.vocab_size));
    step.launch();
    kernels::sample_rows({mat(logits.data(), B, c.vocab_size), settings, u, chosen, logprob}, r.ctx);
    next = chosen, ++at;
  });
  const std::string share = r.copy > 0 ? fmt::format("{:.3f}", decode_bytes(r, B, context) / s / r.copy) : "null";
  return fmt::format(
      R"({{"decode_tokens_per_s": {:.1f}, "step_ms": {:.3f}, "of_bound": {}, "prefill_tokens_per_s": {:.1f}}})", B / s,
      s * 1e3, share, static_cast<double>(B * context) / prefill);
}

// The bits that the law is about: log-probs of sampled tokens, by the rollout engine and by the learner.
std::string bits(Run& r) {
  const int64_t prompt = 70, fresh = 60;
  const auto engine = rollout::make_engine(
      r.weights, r.kv,
      {.max_sequences = 8, .prefill_rows = 100, .memory_bytes = int64_t{2} << 30, .max_tokens = prompt + fresh + 8},
      nullptr, r.ctx);
  std::vector<std::vector<int32_t>> prompts;
  for (uint64_t g = 0; g < 6; ++g) {
    rollout::GroupRequest q;
    q.group_id = q.prompt_id = g;
    q.prompt = r.tokens(prompt + static_cast<int64_t>(g), g + 10);
    q.sample_index = {0, 1};
    q.settings.max_new_tokens = static_cast<int>(fresh);
    prompts.push_back(q.prompt);
    engine->submit(std::move(q));
  }
  std::vector<rollout::Completion> all;
  while (!engine->idle())
    for (rollout::Completion& c : engine->step()) all.push_back(std::move(c));
  std::vector<learner::Sequence> sequences;
  for (const auto& c : all) sequences.push_back({prompts[c.group_id], c.tokens});
  learner::Trainer trainer(r.weights, r.kv, true, 4096, r.ctx);
  std::vector<std::vector<float>> scored;
  trainer.score(sequences, kernels::inverse_temperature(1), scored);
  int64_t compared = 0, differing = 0;
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t t = 0; t < scored[i].size(); ++t, ++compared)
      differing += std::memcmp(&scored[i][t], &all[i].logprob[t], sizeof(float)) != 0;
  return fmt::format(R"({{"tokens_compared": {}, "bits_differing": {}}})", compared, differing);
}

std::string training(Run& r) {
  const int64_t n = r.shape.train_tokens, length = r.shape.train_length;
  learner::Trainer trainer(r.weights, r.kv, true, n, r.ctx);
  std::vector<std::vector<int32_t>> text;
  std::vector<learner::Sequence> sequences;
  for (int64_t i = 0; i < n / length; ++i) text.push_back(r.tokens(length, static_cast<uint64_t>(i)));
  for (const auto& t : text) sequences.push_back({std::span(t).first(1), std::span(t).subspan(1)});
  const double s = r.seconds(3, [&] {
    trainer.accumulate(
        sequences, 1, false,
        [n](size_t, std::span<const float>, std::span<const float>, std::span<float> d, std::span<float>) {
          for (float& x : d) x = -1.0f / static_cast<float>(n);
        });
    trainer.optimizer_step({.lr = 0});  // the same work; the weights serve the other parts
  });
  const double flops =
      3 * static_cast<double>(n) *
      (2 * parameters_per_row(r.shape.config) + attention_flops(r.shape.config, static_cast<double>(length) / 2));
  const std::string share = r.matrix > 0 ? fmt::format("{:.3f}", flops / s / r.matrix) : "null";
  return fmt::format(R"({{"tokens_per_s": {:.1f}, "step_s": {:.3f}, "TFLOP_per_s": {:.2f}, "of_matrix_rate": {}}})",
                     static_cast<double>(n) / s, s, flops / s * 1e-12, share);
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> option{
      {"--device", "cuda"}, {"--shape", "G1"}, {"--out", ""}, {"--copy", "0"}, {"--matrix", "0"}};
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!option.contains(argv[i])) return std::fprintf(stderr, "gpu_model: no option %s\n", argv[i]), 2;
    option[argv[i]] = argv[i + 1];
  }
  try {
    Run r(option["--shape"], option["--device"]);
    r.copy = std::atof(option["--copy"].c_str()) * 1e9;
    r.matrix = std::atof(option["--matrix"].c_str()) * 1e12;
    r.out = option["--out"];
    r.put("kernels", "\"" + r.device.note() + "\"");
    r.put("shape", "\"" + option["--shape"] + "\"");
    r.part("bits", [&] { return bits(r); });
    for (const int B : r.shape.batches)
      r.part(fmt::format("batch {} context {}", B, r.shape.contexts[0]),
             [&] { return decode(r, B, r.shape.contexts[0]); });
    for (size_t i = 1; i < r.shape.contexts.size(); ++i)
      r.part(fmt::format("batch 1 context {}", r.shape.contexts[i]), [&] { return decode(r, 1, r.shape.contexts[i]); });
    r.part(fmt::format("training step of {} tokens", r.shape.train_tokens), [&] { return training(r); });
    return r.json["bits"].find("\"bits_differing\": 0}") != std::string::npos ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gpu_model: %s\n", e.what());
    return 1;
  }
}
