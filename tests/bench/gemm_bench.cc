// Linear layers against OpenBLAS and oneDNN, and weight streaming against the read bandwidth of DRAM.

#include <cblas.h>
#include <omp.h>

#include <cstdio>
#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <vector>

#include "kernels/linear.h"
#include "tests/bench/bench.h"
#include "tests/bench/limits.h"

namespace fulmen::bench {
namespace {

using kernels::Context;
using kernels::DType;
using kernels::mat;
using kernels::PackedWeight;
using kernels::ThreadPool;

struct Shape {
  int M, N, K;
};

class Packed {
 public:
  Packed(const float* w, int64_t N, int64_t K, DType dtype, Context& ctx)
      : data_(random_floats(kernels::packed_bytes(N, K, dtype) / 4, 1)), view_{data_.get(), dtype, N, K} {
    kernels::pack_weight(mat(w, N, K), dtype, data_.get(), ctx);
  }
  const PackedWeight& view() const { return view_; }

 private:
  FloatBuffer data_;
  PackedWeight view_;
};

// y = x W^T by oneDNN with weights reordered once into the layout it prefers.
class OneDnn {
 public:
  OneDnn(const Shape& s, float* x, float* w, float* y) : stream_(engine_) {
    using dnnl::memory;
    const auto f32 = memory::data_type::f32;
    const memory::desc src({s.M, s.K}, f32, memory::format_tag::ab), dst({s.M, s.N}, f32, memory::format_tag::ab);
    const memory::desc any({s.K, s.N}, f32, memory::format_tag::any), given({s.K, s.N}, f32, memory::format_tag::ba);
    const dnnl::matmul::primitive_desc plan(dnnl::matmul::desc(src, any, dst), engine_);
    matmul_ = dnnl::matmul(plan);
    memory from(given, engine_, w), weights(plan.weights_desc(), engine_);
    dnnl::reorder(from, weights).execute(stream_, from, weights);
    stream_.wait();
    args_ = {
        {DNNL_ARG_SRC, memory(src, engine_, x)}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, memory(dst, engine_, y)}};
  }
  void run() {
    matmul_.execute(stream_, args_);
    stream_.wait();
  }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_;
  dnnl::matmul matmul_;
  std::unordered_map<int, dnnl::memory> args_;
};

std::string shape_name(const Shape& s) {
  return std::to_string(s.M) + "x" + std::to_string(s.N) + "x" + std::to_string(s.K);
}

// Model shapes: the projections of widths 128, 256 and 512 (S and M of the facts) and their experts.
const std::vector<Shape> kShapes = {
    {1, 1024, 1024}, {8, 1024, 1024},  {32, 1024, 1024}, {64, 1024, 1024},  {512, 1024, 1024}, {1, 4096, 4096},
    {8, 4096, 4096}, {32, 4096, 4096}, {64, 4096, 4096}, {512, 4096, 4096}, {1, 512, 128},     {8, 512, 128},
    {64, 512, 128},  {512, 512, 128},  {1, 256, 256},    {8, 1024, 256},    {64, 256, 256},    {1024, 1024, 256},
    {1, 2048, 512},  {8, 2048, 512},   {64, 512, 512},   {128, 1024, 512},  {2048, 512, 512},
};

constexpr int kQuickWeights = 1024 * 1024;

void race_shape(const Shape& s, int threads, const Options& options) {
  const auto size = [](int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); };
  const FloatBuffer x = random_floats(size(s.M, s.K), 1), w = random_floats(size(s.N, s.K), 2);
  const FloatBuffer wt = random_floats(size(s.N, s.K), 3), y = random_floats(size(s.M, s.N), 4);
  ThreadPool pool(threads);
  Context ctx = cpu_context(pool);
  const Packed packed(w.get(), s.N, s.K, DType::kF32, ctx);
  omp_set_num_threads(threads);
  openblas_set_num_threads(threads);
  OneDnn onednn(s, x.get(), w.get(), y.get());
  std::vector<Race::Contender> contenders = {
      {"ours",
       [&] {
         linear_forward({mat(x.get(), s.M, s.K), packed.view(), mat(y.get(), s.M, s.N)}, ctx);
       }},
      {"oneDNN", [&] { onednn.run(); }},
      {"OpenBLAS NT",
       [&] {
         cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, s.M, s.N, s.K, 1, x.get(), s.K, w.get(), s.K, 0, y.get(),
                     s.N);
       }},
      {"OpenBLAS NN",
       [&] {
         cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, s.M, s.N, s.K, 1, x.get(), s.K, wt.get(), s.N, 0,
                     y.get(), s.N);
       }},
  };
  if (s.M == 1)
    contenders.push_back(
        {"OpenBLAS gemv",
         [&] { cblas_sgemv(CblasRowMajor, CblasNoTrans, s.N, s.K, 1, w.get(), s.K, x.get(), 1, 0, y.get(), 1); }});
  const Race::Result r = Race::run(contenders, options, threads > 1);
  double blas = 1e30, blas_seconds = 1e30;
  for (size_t i = 2; i < contenders.size(); ++i) {
    blas = std::min(blas, r.ratio[i]);
    blas_seconds = std::min(blas_seconds, r.seconds[i]);
  }
  const double flop = 2.0 * s.M * s.N * s.K * 1e-9;
  const Limits& l = limits(threads);
  const std::string row = "gemm " + shape_name(s) + ", threads " + std::to_string(threads) + ", against ";
  std::printf("%-16s %7d %10.1f %9s %10.1f %10.1f %16s %16s %8.0f%%\n", shape_name(s).c_str(), threads,
              flop / r.seconds[0],
              share_text(flop / r.seconds[0] / l.fma_gflops, r.quiet() && l.others <= Quiet::kLimit).c_str(),
              flop / r.seconds[1], flop / blas_seconds,
              judge(row + "oneDNN", r.ratio[1], {Bar::kAtLeast, 0.8}, r.quiet()).c_str(),
              judge(row + "OpenBLAS", blas, {Bar::kAtLeast, s.M == 8 ? 1.2 : 0.9}, r.quiet()).c_str(), 100 * r.others);
  std::fflush(stdout);
}

void run_gemm(const Options& options) {
  std::printf("%-16s %7s %10s %9s %10s %10s %16s %16s %9s\n", "M x N x K", "threads", "GFLOP/s", "of peak", "oneDNN",
              "OpenBLAS", "vs oneDNN", "vs OpenBLAS", "others");
  for (int threads : options.threads)
    for (const Shape& s : kShapes)
      if (shape_name(s).find(options.filter) != std::string::npos && (!options.quick || s.N * s.K <= kQuickWeights))
        race_shape(s, threads, options);
}

// Every expert of a layer has `rows` rows: all weights are read once. Far more weights than the caches hold.
void stream_case(DType dtype, int rows, int N, int K, int threads, const Options& options) {
  const std::string name = std::string(dtype == DType::kF32 ? "f32" : "bf16") + " rows " + std::to_string(rows) +
                           " of " + std::to_string(N) + "x" + std::to_string(K);
  if (name.find(options.filter) == std::string::npos) return;
  const size_t bytes = kernels::packed_bytes(N, K, dtype), experts = (size_t{256} << 20) / bytes;
  const FloatBuffer weights = random_floats(experts * bytes / 4, 1);
  ThreadPool pool(threads);
  Context ctx = cpu_context(pool);
  std::vector<PackedWeight> w;
  std::vector<int32_t> offset = {0};
  for (size_t e = 0; e < experts; ++e) {
    w.push_back({reinterpret_cast<const char*>(weights.get()) + e * bytes, dtype, N, K});
    offset.push_back(offset.back() + rows);
  }
  const int64_t R = offset.back();
  const FloatBuffer x = random_floats(static_cast<size_t>(R * K), 2), y = random_floats(static_cast<size_t>(R * N), 3);
  const Race::Result r = Race::run({{"ours",
                                     [&] {
                                       grouped_linear_forward({mat(x.get(), R, K), offset, w, mat(y.get(), R, N)}, ctx);
                                     }}},
                                   options, threads > 1);
  const double gb = static_cast<double>(experts * bytes) * 1e-9, flop = 2e-9 * static_cast<double>(R) * N * K;
  const Limits& l = limits(threads);
  const double bound = std::max(gb / l.read_gbs, flop / l.fma_gflops);
  std::printf("%-28s %7d %8.1f %10.1f %14s %8.0f%%\n", name.c_str(), threads, gb / r.seconds[0], flop / r.seconds[0],
              ratio_text(bound / r.seconds[0], r.quiet() && l.others <= Quiet::kLimit).c_str(), 100 * r.others);
  std::fflush(stdout);
}

void run_stream(const Options& options) {
  std::printf("%-28s %7s %8s %10s %14s %9s\n", "weights in DRAM", "threads", "GB/s", "GFLOP/s", "of the bound",
              "others");
  for (int threads : options.threads)
    for (DType dtype : {DType::kF32, DType::kBf16})
      for (int rows : {1, 2, 4, 8, 12, 16, 32, 64}) stream_case(dtype, rows, 1024, 512, threads, options);
}

const bool kGemm =
    register_table("gemm", "y = x W^T in fp32, weights packed beforehand; ratios > 1: ours is faster", run_gemm, 100);
const bool kStream = register_table(
    "weights", "experts with few rows each: share of the bound by DRAM read bandwidth and FMA peak", run_stream, 45);

}  // namespace
}  // namespace fulmen::bench
