// AdamW and the gradient norm against the memory bandwidth of this machine, and against a plain loop.

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/optimizer.h"
#include "tests/bench/bench.h"
#include "tests/bench/limits.h"

namespace fulmen::bench {
namespace {

using kernels::AdamW;
using kernels::Context;
using kernels::TensorRef;
using kernels::ThreadPool;
using kernels::vec;

// `tensors` equal tensors, like the experts of a model.
struct State {
  int64_t n;
  FloatBuffer p, g, m, v;
  std::vector<AdamW> steps;
  std::vector<TensorRef> grads;

  State(int64_t total, int tensors) : n(total) {
    for (FloatBuffer* b : {&p, &g, &m, &v}) *b = random_floats(static_cast<size_t>(n), 1);
    for (int64_t i = 0; i < n; ++i) v[i] = v[i] * v[i];
    const int64_t each = n / tensors;
    for (int i = 0; i < tensors; ++i) {
      AdamW a;
      a.param = vec(p.get() + i * each, each), a.grad = vec(g.get() + i * each, each);
      a.m = vec(m.get() + i * each, each), a.v = vec(v.get() + i * each, each);
      a.lr = 1e-4f, a.step = 100, a.zero_grad = false;
      steps.push_back(a);
      grads.push_back(a.grad);
    }
  }
  // Norm, then AdamW that scales and clears the gradient: 4 bytes read, then 16 read and 16 written a parameter.
  double clipped_step(Context& ctx) {
    const double sum = global_sum_of_squares(grads, ctx);
    std::vector<AdamW> clipped = steps;
    for (AdamW& a : clipped) a.grad_scale = sum > 1 ? static_cast<float>(1 / std::sqrt(sum)) : 1, a.zero_grad = true;
    adamw_step(clipped, ctx);
    return sum;
  }
  void plain_step() {
    const float c1 = 1 / (1 - std::pow(0.9f, 100.0f)), c2 = 1 / (1 - std::pow(0.95f, 100.0f));
    for (int64_t i = 0; i < n; ++i) {
      m[i] = 0.9f * m[i] + 0.1f * g[i];
      v[i] = 0.95f * v[i] + 0.05f * g[i] * g[i];
      p[i] -= 1e-4f * (m[i] * c1 / (std::sqrt(v[i] * c2) + 1e-15f));
    }
  }
};

void race(int64_t total, int tensors, int threads, const Options& options) {
  const std::string name = std::to_string(total >> 20) + "M in " + std::to_string(tensors);
  if (name.find(options.filter) == std::string::npos) return;
  State state(total, tensors);
  ThreadPool pool(threads);
  Context ctx = kernels::cpu_context(pool);
  double sum = 0;
  const Race::Result r = Race::run({{"adamw", [&] { adamw_step(state.steps, ctx); }},
                                    {"norm", [&] { sum += global_sum_of_squares(state.grads, ctx); }},
                                    {"as in training", [&] { sum += state.clipped_step(ctx); }},
                                    {"plain loop, one thread", [&] { state.plain_step(); }}},
                                   options, threads > 1);
  const Limits& l = limits(threads);
  const double gb = 1e-9 * static_cast<double>(state.n), step = 28 * gb / r.seconds[0], norm = 4 * gb / r.seconds[1];
  const double bound = 4 * gb / l.read_gbs + 32 * gb / l.read_write_gbs;
  const bool quiet = r.quiet() && l.others <= Quiet::kLimit;
  const std::string row = "AdamW with clip, " + name + ", threads " + std::to_string(threads);
  std::printf("%-16s %7d %10.1f %13s %10.1f %10s %16s %13s %8.0f%%\n", name.c_str(), threads, step,
              share_text(step / l.read_write_gbs, quiet).c_str(), norm, share_text(norm / l.read_gbs, quiet).c_str(),
              judge(row, bound / r.seconds[2], {Bar::kAtLeast, 0.8}, quiet).c_str(),
              ratio_text(r.ratio[3], r.quiet()).c_str(), 100 * r.others);
  std::fflush(stdout);
}

void run(const Options& options) {
  std::printf("%-16s %7s %10s %13s %10s %10s %16s %13s %9s\n", "parameters", "threads", "AdamW GB/s", "of read+write",
              "norm GB/s", "of read", "clip, of bound", "plain / AdamW", "others");
  for (const int threads : options.threads)
    for (const int tensors : {1, 2048}) race(int64_t{32} << 20, tensors, threads, options);
}

const bool kRegistered = register_table("optimizer", "AdamW and gradient norm against memory bandwidth", run, 30);

}  // namespace
}  // namespace fulmen::bench
