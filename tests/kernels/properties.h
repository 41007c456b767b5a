#pragma once
// The properties every kernel is tested for (DESIGN section 6), written once: same bits for any number of threads,
// either instruction set and every repetition; same bits for a row alone; gradients against finite differences of a
// reference.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/table.h"

namespace fulmen::kernels {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

inline Floats normal_floats(int64_t n, uint32_t seed, float scale = 1) {
  std::mt19937 gen(seed);
  std::normal_distribution<float> d(0, scale);
  Floats v(static_cast<size_t>(n));
  for (float& f : v) f = d(gen);
  return v;
}

inline Doubles to_double(const Floats& v) { return {v.begin(), v.end()}; }

inline float bf16_value(float x) {  // rounded to the nearest, ties to even
  uint32_t u;
  std::memcpy(&u, &x, 4);
  u = (u + 0x7FFF + ((u >> 16) & 1)) & 0xFFFF0000u;
  std::memcpy(&x, &u, 4);
  return x;
}

inline Floats normal_bf16(int64_t n, uint32_t seed) {
  Floats v = normal_floats(n, seed);
  for (float& f : v) f = bf16_value(f);
  return v;
}

struct Machine {
  explicit Machine(int threads, const char* isa = "auto") : pool(threads), ctx(cpu_context(pool, isa)) {}
  ThreadPool pool;
  Context ctx;
};

inline bool has_avx512() { return std::string(Machine(1).ctx.table->name) == "cpu-avx512"; }

inline std::vector<const char*> isas() {
  return has_avx512() ? std::vector<const char*>{"avx2", "avx512"} : std::vector<const char*>{"avx2"};
}

// Bit equality; names the first difference.
inline ::testing::AssertionResult same_bits(const Floats& a, const Floats& b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << a.size() << " against " << b.size() << " elements";
  for (size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], 4) != 0)
      return ::testing::AssertionFailure() << "element " << i << ": " << a[i] << " against " << b[i];
  return ::testing::AssertionSuccess();
}

// run(ctx) returns everything a kernel wrote.
using Run = std::function<Floats(Context&)>;

inline void expect_same_bits_everywhere(const Run& run) {
  Machine one(1);
  const Floats want = run(one.ctx);
  EXPECT_TRUE(same_bits(run(one.ctx), want)) << "when repeated";
  for (const int threads : {2, 3}) {
    Machine many(threads);
    EXPECT_TRUE(same_bits(run(many.ctx), want)) << "on " << threads << " threads";
  }
  Machine narrow(2, "avx2");
  EXPECT_TRUE(same_bits(run(narrow.ctx), want)) << "avx2 against " << one.ctx.table->name;
}

// run(ctx, first, rows) returns the outputs of these rows, `width` floats a row, computed from these rows alone.
using RunRows = std::function<Floats(Context&, int64_t, int64_t)>;

inline void expect_rows_independent(int64_t T, int64_t width, const RunRows& run) {
  Machine machine(2);
  const Floats all = run(machine.ctx, 0, T);
  ASSERT_EQ(static_cast<int64_t>(all.size()), T * width);
  for (const int64_t rows : {int64_t{1}, T / 3, T - 1}) {
    for (const int64_t first : {int64_t{0}, (T - rows) / 2, T - rows}) {
      const Floats part = run(machine.ctx, first, rows);
      const Floats want(all.begin() + first * width, all.begin() + (first + rows) * width);
      EXPECT_TRUE(same_bits(part, want)) << "rows " << first << ".." << first + rows - 1 << " of " << T;
    }
  }
}

inline void expect_near(const Floats& got, const Doubles& want, double relative, double absolute = 1e-6) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(got[i], want[i], absolute + relative * std::abs(want[i])) << "element " << i;
}

// Gradient of loss() by central differences over the elements of x, which loss() reads.
inline Doubles finite_difference(Doubles& x, const std::function<double()>& loss) {
  Doubles gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i], step = 1e-5;
    x[i] = at + step;
    const double up = loss();
    x[i] = at - step;
    gradient[i] = (up - loss()) / (2 * step);
    x[i] = at;
  }
  return gradient;
}

inline double dot(const Doubles& a, const Doubles& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

inline void expect_error(const std::function<void()>& call, const std::string& text) {
  try {
    call();
    ADD_FAILURE() << "no Error, want one with: " << text;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(text), std::string::npos) << "message is: " << e.what();
  }
}

inline Floats joined(std::initializer_list<Floats> parts) {
  Floats all;
  for (const Floats& p : parts) all.insert(all.end(), p.begin(), p.end());
  return all;
}

}  // namespace fulmen::kernels
