#!/usr/bin/env bash
# Builds gpu_test, gpu_bench and libfulmen_cuda.so in OUT/bin with nvcc and g++ alone, on all cores. Flags are those of
# kernels/CMakeLists.txt and kernels/cuda/CMakeLists.txt.
# usage: tests/gpu/build.sh OUT [ARCHITECTURE...]   (default 80 90a)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$1
shift
mkdir -p "$out/bin" "$out/objects"
out=$(cd "$out" && pwd)
nvcc=$(readlink -f "$(command -v nvcc)")
gencode=""
for a in "${@:-80 90a}"; do for b in $a; do gencode+=" -gencode=arch=compute_$b,code=sm_$b"; done; done
# The first compiler that knows C++20 and that this nvcc accepts.
host=""
for c in ${CXX:-} g++ g++-14 g++-13 g++-12 g++-11; do
  command -v "$c" >/dev/null || continue
  echo '#include <span>' >"$out/objects/probe.cu"
  if "$nvcc" -std=c++20 -ccbin "$c" -c -o "$out/objects/probe.o" "$out/objects/probe.cu" >"$out/objects/probe.log" 2>&1; then host=$c && break; fi
done
[ -n "$host" ] || { cat "$out/objects/probe.log"; echo "build.sh: no g++ of 11 or later that $nvcc works with"; exit 1; }

common="-std=c++20 -I$root -Wall -Wextra -ffp-contract=off -fPIC"
cpu="$common -O3 -DNDEBUG -fno-math-errno -Wno-maybe-uninitialized"
cuda="-std=c++20 -I$root -O3 -DNDEBUG -fmad=false -ftz=true -prec-div=true -prec-sqrt=true -Werror=all-warnings -Xcompiler=-Wall,-Wextra,-fPIC,-fvisibility=hidden"
toolkit="-isystem $(dirname "$(dirname "$nvcc")")/include"
: >"$out/jobs"
job() { echo "$*" >>"$out/jobs"; } # OBJECT COMMAND...: the object's own "-c SOURCE -o OBJECT" included
of() { echo "$out/objects/$1-$(basename "$2" | tr . -).o"; }
add() { # GROUP SOURCE COMMAND...
  local object
  object=$(of "$1" "$2")
  job "$object" "${@:3}" -c "$root/$2" -o "$object"
}
cd "$root"
# What takes longest first.
for f in kernels/cuda/{lightning_mma,product_wgmma,attention_mma,product_mma_tiles,attention_mma_backward}.cu; do add cuda "$f" "$nvcc" -ccbin "$host" $gencode $cuda; done
for f in tests/kernels/cuda_{kernels,attention,tensor_core,product,scale}_test.cc; do add test "$f" "$host" $common -O2 -Itests/gpu $toolkit; done
for f in kernels/cuda/*.cu; do
  grep -q "^$(of cuda "$f") " "$out/jobs" || add cuda "$f" "$nvcc" -ccbin "$host" $gencode $cuda
done
for f in kernels/cuda/*.cc; do add cuda "$f" "$host" $common -O2 -fvisibility=hidden $toolkit; done
for f in kernels/cpu/*.cc; do
  add avx2 "$f" "$host" $cpu -DFULMEN_ISA=avx2 -mavx2 -mfma -mf16c
  add avx512 "$f" "$host" $cpu -DFULMEN_ISA=avx512 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma -mf16c
done
for f in kernels/*.cc; do add kernels "$f" "$host" $common -O2; done
for f in tests/gpu/{gpu_test_main,managed_memory,cuda_test_device,watched_cases}.cc; do add test "$f" "$host" $common -O2 -Itests/gpu $toolkit; done
for f in tests/gpu/gpu_bench*.cc; do add bench "$f" "$host" $common -O2 $toolkit; done
add bench tests/gpu/device_limits.cu "$nvcc" -ccbin "$host" $gencode $cuda

compile() { # OBJECT COMMAND... -c SOURCE -o OBJECT: unless it is newer than its source and every header
  if [ -e "$1" ] && [ "$1" -nt "${*: -3:1}" ] && [ -z "$(find kernels tests/gpu tests/kernels -name '*.*h' ! -name '*.sh' -newer "$1" -print -quit)" ]; then return 0; fi
  local begin=$EPOCHREALTIME
  "${@:2}" || { rm -f "$1"; echo "build.sh: failed: $(basename "$1")"; return 255; } # 255: xargs starts nothing more
  awk -v a="$begin" -v b="$EPOCHREALTIME" -v n="$(basename "$1" .o)" 'BEGIN {printf "%6.1f s  %s\n", b - a, n}'
}
export -f compile
xargs -P "$(nproc)" -a "$out/jobs" -I{} bash -c 'compile {}'

link() { "$nvcc" -ccbin "$host" -cudart static "$@" -ldl -lpthread; }
plugin=$(of cuda plugin.cc)
kernels=$(ls "$out"/objects/cuda-*.o | grep -vF "$plugin")
host_objects="$(ls "$out"/objects/{kernels,avx2,avx512}-*.o)"
link -shared -o "$out/bin/libfulmen_cuda.so" $kernels "$plugin"
link -o "$out/bin/gpu_test" "$out"/objects/test-*.o $kernels $host_objects
link -o "$out/bin/gpu_bench" "$out"/objects/bench-*.o $host_objects
