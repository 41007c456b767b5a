#include "kernels/sampler.h"

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

void check_length(const char* name, size_t got, int64_t want) {
  FULMEN_CHECK(static_cast<int64_t>(got) == want, std::string("sample_rows: ") + name + " has " + std::to_string(got) +
                                                      " entries, want " + std::to_string(want));
}

void check_settings(size_t row, const SamplingSettings& s, double u) {
  const auto want = [row](bool ok, const char* name, double got, const char* range) {
    FULMEN_CHECK(ok, "sample_rows: " + std::string(name) + " of row " + std::to_string(row) + " is " +
                         std::to_string(got) + ", want " + range);
  };
  want(s.temperature >= 0 && s.temperature < 1e6f, "temperature", s.temperature, "0 (greedy) or above");
  want(s.top_k >= 0, "top_k", s.top_k, "0 (all) or above");
  want(s.top_p > 0 && s.top_p <= 1, "top_p", s.top_p, "in (0, 1]");
  want(s.min_p >= 0 && s.min_p <= 1, "min_p", s.min_p, "in [0, 1]");
  want(u >= 0 && u < 1, "u", u, "in [0, 1)");
}

}  // namespace

void queue_sample_rows(const SampleRows& a, Context& ctx) {
  if (a.logits.rank == 2 && a.logits.dim[0] == 0) return;
  const int64_t B = a.logits.dim[0];
  check_shape("sample_rows", "logits", a.logits, {B, a.logits.dim[1]});
  FULMEN_CHECK(a.logits.dim[1] > 0, "sample_rows: logits is " + shape_string(a.logits) + ", want at least one column");
  check_length("settings", a.settings.size(), B);
  check_length("u", a.u.size(), B);
  check_length("token", a.token.size(), B);
  check_length("logprob", a.logprob.size(), B);
  for (size_t b = 0; b < a.settings.size(); ++b) check_settings(b, a.settings[b], a.u[b]);
  ctx.table->sample_rows(a, ctx);
}

void sample_rows(const SampleRows& a, Context& ctx) {
  if (host_memory(ctx) || a.token.empty()) {
    queue_sample_rows(a, ctx);
  } else {
    const DeviceMemory results = allocate(a.token.size_bytes() + a.logprob.size_bytes(), ctx);
    SampleRows there = a;
    there.token = {static_cast<int32_t*>(results.get()), a.token.size()};
    there.logprob = {static_cast<float*>(results.get()) + a.token.size(), a.logprob.size()};
    queue_sample_rows(there, ctx);
    copy_out(a.token.data(), there.token.data(), a.token.size_bytes(), ctx);
    copy_out(a.logprob.data(), there.logprob.data(), a.logprob.size_bytes(), ctx);
  }
  for (size_t b = 0; b < a.token.size(); ++b)
    FULMEN_CHECK(a.token[b] >= 0, "sample_rows: row " + std::to_string(b) + " has a logit that is not finite");
}

}  // namespace fulmen::kernels
