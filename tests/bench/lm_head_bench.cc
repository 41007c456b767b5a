// LM head with log-probability and entropy: share of the FMA peak of the three products it needs, its cost over the
// bare product, and against OpenBLAS with whole logits held in memory (one pass each for the maximum and the sum).

#include <cblas.h>

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/lm_head.h"
#include "tests/bench/bench.h"
#include "tests/bench/limits.h"

namespace fulmen::bench {
namespace {

using kernels::Context;
using kernels::DType;
using kernels::mat;
using kernels::ThreadPool;
using kernels::vec;

struct Shape {
  int T, C, V;
  std::string name() const { return std::to_string(T) + "x" + std::to_string(C) + "x" + std::to_string(V); }
};
const std::vector<Shape> kShapes = {{512, 256, 8192}, {512, 512, 32000}, {2048, 512, 8192}};

class Head {
 public:
  Head(const Shape& s, Context& ctx) : s_(s), ctx_(ctx) {
    const auto C = static_cast<size_t>(s.C), T = static_cast<size_t>(s.T), V = static_cast<size_t>(s.V);
    h_ = random_floats(T * C, 1), w_ = random_floats(V * C, 2), packed_ = random_floats((V + 32) * C, 3);
    dh_ = random_floats(T * C, 4), dw_ = random_floats(V * C, 5), logits_ = random_floats(T * V, 6);
    out_ = random_floats(6 * T, 7);
    for (int t = 0; t < s.T; ++t) target_.push_back(static_cast<int32_t>(t * int64_t{7919} % s.V));
    pack_weight(mat(w_.get(), s.V, s.C), DType::kF32, packed_.get(), ctx);
  }
  void forward() {
    kernels::LmHeadForward a;
    a.h = mat(h_.get(), s_.T, s_.C), a.w = weight(), a.target = target_;
    a.logprob = column(0), a.entropy = column(1), a.lse = mat(out_.get() + 2 * s_.T, s_.T, 2);
    lm_head_forward(a, ctx_);
  }
  void backward() {
    kernels::LmHeadBackward a;
    a.h = mat(h_.get(), s_.T, s_.C), a.w = weight(), a.w_rows = mat(w_.get(), s_.V, s_.C), a.target = target_;
    a.lse = mat(out_.get() + 2 * s_.T, s_.T, 2), a.entropy = column(1), a.dlogprob = column(4), a.dentropy = column(5);
    a.dh = mat(dh_.get(), s_.T, s_.C), a.dw = mat(dw_.get(), s_.V, s_.C);
    lm_head_backward(a, ctx_);
  }
  void product() { linear_forward({mat(h_.get(), s_.T, s_.C), weight(), mat(logits_.get(), s_.T, s_.V)}, ctx_); }
  void whole_logits() {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, s_.T, s_.V, s_.C, 1, h_.get(), s_.C, w_.get(), s_.C, 0,
                logits_.get(), s_.V);
    for (int t = 0; t < s_.T; ++t) {
      const float* x = logits_.get() + static_cast<size_t>(t) * s_.V;
      float max = x[0], sum = 0;
      for (int v = 1; v < s_.V; ++v) max = x[v] > max ? x[v] : max;
      for (int v = 0; v < s_.V; ++v) sum += std::exp(x[v] - max);
      out_[t] = x[target_[t]] - max - std::log(sum);
    }
  }

 private:
  kernels::PackedWeight weight() const { return {packed_.get(), DType::kF32, s_.V, s_.C}; }
  kernels::TensorRef column(int i) const { return vec(out_.get() + i * s_.T, s_.T); }

  Shape s_;
  Context& ctx_;
  FloatBuffer h_, w_, packed_, dh_, dw_, logits_, out_;
  std::vector<int32_t> target_;
};

void race(const Shape& s, int threads, const Options& options) {
  ThreadPool pool(threads);
  Context ctx = kernels::cpu_context(pool);
  Head head(s, ctx);
  openblas_set_num_threads(threads);
  const Race::Result r = Race::run({{"forward", [&] { head.forward(); }},
                                    {"backward", [&] { head.backward(); }},
                                    {"product", [&] { head.product(); }},
                                    {"OpenBLAS + scalar softmax", [&] { head.whole_logits(); }}},
                                   options, threads > 1);
  const double product = 2e-9 * s.T * s.C * s.V, peak = limits(threads).fma_gflops;
  const bool quiet = r.quiet() && limits(threads).others <= Quiet::kLimit;
  std::printf("%-18s %7d %10.1f %9s %10.1f %9s %14s %16s %8.0f%%\n", s.name().c_str(), threads, product / r.seconds[0],
              share_text(product / r.seconds[0] / peak, quiet).c_str(), 3 * product / r.seconds[1],
              share_text(3 * product / r.seconds[1] / peak, quiet).c_str(),
              ratio_text(1 / r.ratio[2], r.quiet()).c_str(), ratio_text(r.ratio[3], r.quiet()).c_str(), 100 * r.others);
  std::fflush(stdout);
}

void run(const Options& options) {
  std::printf("%-18s %7s %10s %9s %10s %9s %14s %16s %9s\n", "T x C x V", "threads", "fwd GF/s", "of peak", "bwd GF/s",
              "of peak", "fwd / product", "OpenBLAS / fwd", "others");
  for (const int threads : options.threads)
    for (const Shape& s : kShapes)
      if (s.name().find(options.filter) != std::string::npos) race(s, threads, options);
}

const bool kRegistered = register_table("lm_head", "LM head with logprob and entropy, forward and backward", run, 50);

}  // namespace
}  // namespace fulmen::bench
