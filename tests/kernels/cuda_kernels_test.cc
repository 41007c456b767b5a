// The kernels of kernels/cuda on the CPU, by emulation (tests/cuda_emulation): in fp32 every entry gives the bits of
// the CPU backend, threads in either order; products in bf16 are near the reference and do not depend on the batch.

#include <gtest/gtest.h>

#include <numeric>

#include "cuda_test_device.h"
#include "tests/kernels/properties.h"

namespace fulmen::kernels {
namespace {

using Ints = std::vector<int32_t>;

// run(ctx) on the CPU backend and on the emulated one, threads forwards and backwards: equal bits.
void expect_cpu_bits(const Run& run) {
  Machine cpu(1);
  const Floats want = run(cpu.ctx);
  for (const bool reverse : {false, true}) {
    TestDevice device(cpu.pool);
    TestDevice::set_reverse(reverse);
    EXPECT_TRUE(same_bits(run(device.context()), want)) << (reverse ? "threads in reverse order" : "");
  }
  TestDevice::set_reverse(false);
}

Floats joined(std::initializer_list<const Floats*> parts) {
  Floats all;
  for (const Floats* p : parts) all.insert(all.end(), p->begin(), p->end());
  return all;
}

Floats as_floats(const Ints& v) { return {v.begin(), v.end()}; }

TEST(CudaRows, PointwiseKernelsGiveTheBitsOfTheCpu) {
  const int64_t T = 7, C = 1043;
  const Floats a = normal_floats(T * C, 1, 3), b = normal_floats(T * C, 2), c = normal_floats(T * C, 3);
  const auto m = [&](const Floats& v) { return mat(v.data(), T, C); };
  expect_cpu_bits([&](Context& ctx) {
    Floats y(a.size()), z = y, u = y, w = y, r = a, s = y, t = y;
    silu_forward({m(a), m(y)}, ctx);
    silu_backward({m(b), m(a), m(z)}, ctx);
    swiglu_forward({m(a), m(b), m(u)}, ctx);
    swiglu_backward({m(c), m(a), m(b), m(w), m(t)}, ctx);
    round_to_bf16(m(r), ctx);
    scaled_add({m(a), m(b), m(s), 0.3f, 1.7f}, ctx);
    return joined({&y, &z, &u, &w, &t, &r, &s});
  });
}

TEST(CudaRows, EmbeddingAndItsGradientGiveTheBitsOfTheCpu) {
  const Ints tokens = {5, 2, 5, 0, 5, 2};
  const Floats table = normal_floats(9 * 70, 4), dy = normal_floats(6 * 70, 5);
  expect_cpu_bits([&](Context& ctx) {
    Floats y(6 * 70), d = table;
    embedding_forward({tokens, mat(table.data(), 9, 70), mat(y.data(), 6, 70)}, ctx);
    embedding_backward({tokens, mat(dy.data(), 6, 70), mat(d.data(), 9, 70)}, ctx);
    return joined({&y, &d});
  });
}

TEST(CudaRows, RopeGivesTheBitsOfTheCpu) {
  const std::vector<Segment> segments = {{0, 3, 1000000, 0}, {3, 1, 17, 1}, {4, 5, 0, 2}};
  const Floats x = normal_floats(9 * 3 * 32, 6);
  for (const bool inverse : {false, true})
    expect_cpu_bits([&](Context& ctx) {
      Floats y = x;
      rope({mat(y.data(), 9, 96), 3, 32, 16, 1e7, segments, inverse}, ctx);
      return y;
    });
}

TEST(CudaRows, CopyRowsPicksAndPlaces) {
  const Floats x = normal_floats(5 * 33, 7);
  const Ints from = {4, 0, 4}, to = {3, 1, 0};
  expect_cpu_bits([&](Context& ctx) {
    Floats y(5 * 33), z = y;
    copy_rows({mat(x.data(), 5, 33), from, mat(y.data(), 5, 33), to}, ctx);
    copy_rows({mat(x.data(), 5, 33), {}, mat(z.data(), 5, 33), {}}, ctx);
    return joined({&y, &z});
  });
}

TEST(CudaNorm, GivesTheBitsOfTheCpu) {
  for (const auto& [C, T] : {std::pair<int64_t, int64_t>{1, 9}, {63, 200}, {200, 9}, {517, 64}}) {
    const Floats x = normal_floats(T * C, 8, 2), g = normal_floats(T * C, 9), w = normal_floats(C, 10);
    const Floats dy = normal_floats(T * C, 11), dw0 = normal_floats(C, 12);
    const auto m = [&](const Floats& v) { return mat(v.data(), T, C); };
    expect_cpu_bits([&](Context& ctx) {
      Floats y(x.size()), z = y, dx = y, dx2 = y, dg = y, dw = dw0, dw2 = dw0;
      rmsnorm_forward({m(x), vec(w.data(), C), m(y)}, ctx);
      gated_rmsnorm_forward({m(x), m(g), vec(w.data(), C), m(z)}, ctx);
      rmsnorm_backward({m(dy), m(x), vec(w.data(), C), m(dx), vec(dw.data(), C)}, ctx);
      gated_rmsnorm_backward({m(dy), m(x), m(g), vec(w.data(), C), m(dx2), m(dg), vec(dw2.data(), C)}, ctx);
      return joined({&y, &z, &dx, &dx2, &dg, &dw, &dw2});
    });
  }
}

TEST(CudaRouter, GivesTheBitsOfTheCpu) {
  for (const auto& [T, E, k] : {std::tuple{1, 1, 1}, {50, 7, 2}, {37, 65, 8}, {300, 4, 3}}) {
    const int64_t C = 37, R = T * k;
    Floats logits = normal_floats(T * E, 13, 2);
    if (E > 4) logits[1] = logits[4] = logits[2] = 9;  // ties
    const Floats x = normal_floats(T * C, 14), f = normal_floats(R * C, 15), dweight = normal_floats(R, 16);
    expect_cpu_bits([&](Context& ctx) {
      Ints expert(R), order(R), offset(E + 1);
      Floats weight(R), dlogits(T * E), rows(R * C), y(T * C), dx = y, df = rows, dw(R);
      route_forward({mat(logits.data(), T, E), k, expert, mat(weight.data(), T, k)}, ctx);
      dispatch({expert, E, order, offset}, ctx);
      route_backward({mat(weight.data(), T, k), mat(dweight.data(), T, k), expert, k, mat(dlogits.data(), T, E)}, ctx);
      gather_rows({mat(x.data(), T, C), order, k, mat(rows.data(), R, C)}, ctx);
      gather_rows_backward({mat(f.data(), R, C), order, k, mat(dx.data(), T, C)}, ctx);
      combine_forward({mat(f.data(), R, C), order, mat(weight.data(), T, k), mat(y.data(), T, C)}, ctx);
      combine_backward({mat(x.data(), T, C), mat(f.data(), R, C), order, mat(weight.data(), T, k), mat(df.data(), R, C),
                        mat(dw.data(), T, k)},
                       ctx);
      const Floats e = as_floats(expert), o = as_floats(order), s = as_floats(offset);
      return joined({&e, &o, &s, &weight, &dlogits, &rows, &dx, &y, &df, &dw});
    });
  }
}

TEST(CudaOptimizer, GivesTheBitsOfTheCpu) {
  const std::vector<int64_t> sizes = {1, 4096, 9001, 0, 77};
  expect_cpu_bits([&](Context& ctx) {
    std::vector<Floats> p, g, m, v;
    for (const int64_t n : sizes) {
      p.push_back(normal_floats(n, 17)), g.push_back(normal_floats(n, 18, 1e-3f));
      m.push_back(normal_floats(n, 19, 1e-3f)), v.push_back(Floats(static_cast<size_t>(n), 1e-6f));
    }
    std::vector<TensorRef> grads;
    std::vector<AdamW> updates;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto flat = [&](std::vector<Floats>& x) { return vec(x[i].data(), sizes[i]); };
      grads.push_back(flat(g));
      updates.push_back({flat(p), flat(g), flat(m), flat(v), 1e-2f, 0.9f, 0.95f, 1e-15f, 0.1f, 0.5f, 3, i != 2});
    }
    const Floats norm = {static_cast<float>(global_sum_of_squares(grads, ctx))};
    adamw_step(updates, ctx);
    Floats all = norm;
    for (size_t i = 0; i < sizes.size(); ++i)
      for (const auto* list : {&p, &g, &m, &v}) all.insert(all.end(), (*list)[i].begin(), (*list)[i].end());
    return all;
  });
}

// A weight packed by the context it is used with.
struct Packed {
  std::vector<uint8_t> storage;
  PackedWeight w;
  Packed(const Floats& values, int64_t N, int64_t K, DType t, Context& ctx) : storage(packed_bytes(N, K, t) + 64) {
    void* at = storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
    pack_weight(mat(values.data(), N, K), t, at, ctx);
    w = {at, t, N, K};
  }
};

TEST(CudaLinear, InFp32GivesTheBitsOfTheCpu) {
  for (const auto& [T, N, K] : {std::tuple{1, 1, 1}, {3, 65, 17}, {16, 64, 48}, {70, 130, 33}}) {
    const Floats x = normal_floats(T * K, 20), w = normal_floats(N * K, 21), dy = normal_floats(T * N, 22);
    const Floats dx0 = normal_floats(T * K, 23), dw0 = normal_floats(N * K, 24);
    expect_cpu_bits([&](Context& ctx) {
      const Packed p(w, N, K, DType::kF32, ctx);
      Floats y(T * N), dx(T * K), dx2 = dx0, dw = dw0;
      linear_forward({mat(x.data(), T, K), p.w, mat(y.data(), T, N)}, ctx);
      linear_backward({mat(dy.data(), T, N), mat(x.data(), T, K), mat(w.data(), N, K), mat(dx.data(), T, K), false,
                       mat(dw.data(), N, K)},
                      ctx);
      linear_backward({mat(dy.data(), T, N), {}, mat(w.data(), N, K), mat(dx2.data(), T, K), true, {}}, ctx);
      return joined({&y, &dx, &dx2, &dw});
    });
  }
}

TEST(CudaLinear, GroupedInFp32GivesTheBitsOfTheCpu) {
  const int64_t N = 70, K = 35, E = 5;
  for (const Ints& offset : {Ints{0, 3, 3, 4, 20, 21}, Ints{0, 0, 90, 90, 155, 300}}) {
    const int64_t R = offset.back();
    const Floats x = normal_floats(R * K, 25), dy = normal_floats(R * N, 26), w = normal_floats(E * N * K, 27);
    expect_cpu_bits([&](Context& ctx) {
      std::vector<Packed> packed;
      std::vector<PackedWeight> list;
      std::vector<TensorRef> rows, dw_rows;
      Floats y(R * N), dx(R * K), dw = w;
      for (int64_t e = 0; e < E; ++e) {
        packed.emplace_back(Floats(w.begin() + e * N * K, w.begin() + (e + 1) * N * K), N, K, DType::kF32, ctx);
        rows.push_back(mat(w.data() + e * N * K, N, K));
        dw_rows.push_back(mat(dw.data() + e * N * K, N, K));
      }
      for (const Packed& p : packed) list.push_back(p.w);
      grouped_linear_forward({mat(x.data(), R, K), offset, list, mat(y.data(), R, N)}, ctx);
      grouped_linear_backward(
          {mat(dy.data(), R, N), mat(x.data(), R, K), offset, rows, mat(dx.data(), R, K), false, dw_rows}, ctx);
      return joined({&y, &dx, &dw});
    });
  }
}

Floats rounded(Floats v) {
  Machine cpu(1);
  round_to_bf16(mat(v.data(), 1, static_cast<int64_t>(v.size())), cpu.ctx);
  return v;
}

TEST(CudaLinear, Bf16IsNearFp32OnRoundedInputs) {
  const int64_t T = 37, N = 75, K = 83;
  const Floats x = rounded(normal_floats(T * K, 28)), w = rounded(normal_floats(N * K, 29));
  const Floats dy = rounded(normal_floats(T * N, 30));
  const auto run = [&](Context& ctx, DType t) {
    const Packed p(w, N, K, t, ctx);
    Floats y(T * N), dx(T * K), dw(N * K);
    TensorRef rows = mat(w.data(), N, K);
    if (t == DType::kBf16) rows.data = const_cast<void*>(p.w.data), rows.dtype = t;
    linear_forward({mat(x.data(), T, K), p.w, mat(y.data(), T, N)}, ctx);
    linear_backward(
        {mat(dy.data(), T, N), mat(x.data(), T, K), rows, mat(dx.data(), T, K), false, mat(dw.data(), N, K)}, ctx);
    return joined({&y, &dx, &dw});
  };
  Machine cpu(1);
  TestDevice device(cpu.pool);
  const Floats want = run(cpu.ctx, DType::kF32), got = run(device.context(), DType::kBf16);
  // Truncation to 25 bits at each of K / 16 steps, of sums of about sqrt(K) in size.
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 4e-5) << i;
}

TEST(CudaLinear, ARowInBf16DoesNotDependOnItsBatch) {
  const int64_t T = 70, N = 72, K = 100;
  const Floats x = normal_floats(T * K, 31), w = normal_floats(N * K, 32);
  Machine cpu(1);
  TestDevice device(cpu.pool);
  Context& ctx = device.context();
  const Packed p(w, N, K, DType::kBf16, ctx);
  Floats all(T * N);
  linear_forward({mat(x.data(), T, K), p.w, mat(all.data(), T, N)}, ctx);
  for (const auto& [first, rows] : {std::pair<int64_t, int64_t>{0, 1}, {69, 1}, {5, 16}, {40, 17}}) {
    Floats some(rows * N);
    linear_forward({mat(x.data() + first * K, rows, K), p.w, mat(some.data(), rows, N)}, ctx);
    EXPECT_TRUE(same_bits(some, Floats(all.begin() + first * N, all.begin() + (first + rows) * N))) << first;
  }
}

// All but the entropy, whose sum has an order of its own there.
TEST(CudaLmHead, GivesTheBitsOfTheCpu) {
  const int64_t T = 7, C = 24, V = kVocabChunk + 515;
  const Floats h = normal_floats(T * C, 33), w = normal_floats(V * C, 34, 0.3f);
  const Ints target = {0, -1, 4095, 4096, static_cast<int32_t>(V - 1), -1, 77};
  const Floats dlp = normal_floats(T, 35), dent = normal_floats(T, 36), given(T, 6.5f);
  std::vector<Floats> entropies;
  for (const bool entropy : {false, true})
    expect_cpu_bits([&](Context& ctx) {
      const Packed p(w, V, C, DType::kF32, ctx);
      Floats lp(T), ent(T), lse(2 * T), dh(T * C), dw(V * C);
      LmHeadForward f{mat(h.data(), T, C), p.w, target, 0.8f, vec(lp.data(), T), {}, mat(lse.data(), T, 2)};
      if (entropy) f.entropy = vec(ent.data(), T);
      lm_head_forward(f, ctx);
      LmHeadBackward b{mat(h.data(), T, C),   p.w, mat(w.data(), V, C), target, 0.8f,
                       mat(lse.data(), T, 2), {},  vec(dlp.data(), T),  {},     mat(dh.data(), T, C),
                       mat(dw.data(), V, C)};
      if (entropy) b.entropy = vec(given.data(), T), b.dentropy = vec(dent.data(), T);
      lm_head_backward(b, ctx);
      if (entropy) entropies.push_back(ent);
      return joined({&lp, &lse, &dh, &dw});
    });
  for (const Floats& e : entropies)
    for (int64_t t = 0; t < T; ++t) EXPECT_NEAR(e[t], entropies[0][t], 2e-6);
}

TEST(CudaSampler, DrawsTheTokensOfTheCpu) {
  const int64_t V = kVocabChunk + 77;
  std::vector<SamplingSettings> settings;
  for (const float t : {0.0f, 0.7f, 1.3f})
    for (const auto& [k, p, m] :
         {std::tuple{0, 1.0f, 0.0f}, {5, 1.0f, 0.0f}, {0, 0.6f, 0.0f}, {50, 0.9f, 0.01f}, {1, 1.0f, 0.0f}})
      settings.push_back({t, k, p, m});
  const auto B = static_cast<int64_t>(settings.size());
  Floats logits = normal_floats(B * V, 37, 2);
  for (int64_t b = 0; b < B; ++b) logits[b * V + 9] = logits[b * V + 4100] = logits[b * V + 30] = 11;  // ties
  std::vector<double> u;
  for (int64_t b = 0; b < B; ++b) u.push_back(std::fmod(0.37 * static_cast<double>(b), 1.0));
  expect_cpu_bits([&](Context& ctx) {
    Floats x = logits, logprob(B);
    Ints token(B);
    sample_rows({mat(x.data(), B, V), settings, u, token, logprob}, ctx);
    const Floats t = as_floats(token);
    return joined({&t, &logprob});
  });
}

TEST(CudaSampler, NamesTheRowWhoseLogitsAreNotFinite) {
  Machine cpu(1);
  TestDevice device(cpu.pool);
  for (const float bad : {std::nanf(""), -std::nanf(""), INFINITY}) {
    Floats x = normal_floats(2 * 40, 38), logprob(2);
    x[47] = bad;
    Ints token(2);
    const std::vector<SamplingSettings> settings = {{}, {1, 3, 1, 0}};
    const std::vector<double> u = {0.5, 0.5};
    try {
      sample_rows({mat(x.data(), 2, 40), settings, u, token, logprob}, device.context());
      FAIL();
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("row 1"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace fulmen::kernels
