#!/usr/bin/env bash
# Builds, tests and measures the CUDA kernels on this machine's GPU: tests/gpu/run.sh [RESULTS.json]. Offline; needs the
# CUDA toolkit, g++ and CMake. Elsewhere: one line and exit 77. Exit 1 when a test fails.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:-$root/build/gpu/results.json}
skip() { echo "tests/gpu: skipped: $*"; exit 77; }
ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1' || [ -e /usr/lib/x86_64-linux-gnu/libcuda.so.1 ] ||
  skip "no NVIDIA driver on this machine (libcuda.so.1 not found)"
export PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || skip "no nvcc in PATH or /usr/local/cuda/bin"
command -v cmake >/dev/null || skip "no cmake"
build=$root/build/gpu
cmake -S "$here" -B "$build" -DCMAKE_BUILD_TYPE=Release >"$root/.gpu-configure.log" 2>&1 ||
  { tail -20 "$root/.gpu-configure.log"; rm -f "$root/.gpu-configure.log"; exit 1; }
rm -f "$root/.gpu-configure.log"
timeout 300 cmake --build "$build" -j "$(nproc)" >"$build/build.log" 2>&1 || { grep -E 'error' "$build/build.log" | head -20; exit 1; }
mkdir -p "$(dirname "$out")"
status=0
CUDA_LAUNCH_BLOCKING=1 timeout 150 "$build/bin/gpu_test" "$build/tests.json" || status=$?
[ "$status" != 77 ] || exit 77
timeout 60 "$build/bin/gpu_bench" "$build/bench.json" || status=1
if command -v compute-sanitizer >/dev/null; then
  CUDA_LAUNCH_BLOCKING=1 timeout 60 compute-sanitizer --error-exitcode 1 --tool memcheck "$build/bin/gpu_test" /dev/null \
    >"$build/memcheck.log" 2>&1 && echo "memcheck clean" || echo "memcheck: not clean or not finished, see $build/memcheck.log"
fi
{ echo '{"tests":'; cat "$build/tests.json"; echo ', "bench":'; cat "$build/bench.json" 2>/dev/null || echo null; echo '}'; } >"$out"
echo "results: $out"
exit "$status"
