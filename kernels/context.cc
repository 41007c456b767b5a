#include "kernels/context.h"

#include <string>
#include <string_view>

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

const char* missing_for_avx2() {
  if (!__builtin_cpu_supports("avx2")) return "AVX2";
  if (!__builtin_cpu_supports("fma")) return "FMA";
  if (!__builtin_cpu_supports("f16c")) return "F16C";
  return nullptr;
}

const char* missing_for_avx512() {
  if (const char* m = missing_for_avx2()) return m;
  if (!__builtin_cpu_supports("avx512f")) return "AVX512F";
  if (!__builtin_cpu_supports("avx512dq")) return "AVX512DQ";
  if (!__builtin_cpu_supports("avx512bw")) return "AVX512BW";
  if (!__builtin_cpu_supports("avx512vl")) return "AVX512VL";
  return nullptr;
}

void require(const char* missing, std::string_view isa) {
  FULMEN_CHECK(!missing,
               "cpu_context: this processor has no " + std::string(missing) + ", want it for " + std::string(isa));
}

}  // namespace

Context cpu_context(ThreadPool& pool, const char* isa) {
  __builtin_cpu_init();
  const std::string_view want = isa;
  FULMEN_CHECK(want == "auto" || want == "avx2" || want == "avx512",
               "cpu_context: isa is \"" + std::string(want) + "\", want auto, avx2 or avx512");
  if (want == "avx512") require(missing_for_avx512(), "avx512");
  require(missing_for_avx2(), "avx2");
  const bool wide = want == "avx512" || (want == "auto" && !missing_for_avx512());
  Context ctx;
  ctx.table = wide ? &cpu_avx512_table() : &cpu_avx2_table();
  ctx.pool = &pool;
  return ctx;
}

}  // namespace fulmen::kernels
