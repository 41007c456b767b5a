// Entry point of libFuzzer for the target FULMEN_FUZZ_TARGET. Run: fuzz_safetensors [-max_total_time=60] CORPUS_DIR
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/math_targets.h"
#include "tests/fuzz/reward_targets.h"
#include "tests/fuzz/run_targets.h"
#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulmen::fuzz::FULMEN_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
