#!/usr/bin/env bash
# Builds, tests and measures the CUDA backend on this machine's GPU: tests/gpu/run.sh [RESULTS.json]. Offline, in under nine
# minutes. Needs the CUDA toolkit and g++. With build/carry (tests/gpu/carry.sh makes it elsewhere) also whole runs and a
# model of 1.8 B parameters; with python3 a table, with PyTorch its times beside ours. What could not be run is null in the
# JSON, with the reason. The JSON is written after every part, so what is there when the machine is taken away stays. A part
# that hangs is ended when its time is up, and every part leaves time for those that come after it. Elsewhere: one line and
# exit 77. Exit 1 when a test fails.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
began=$(date +%s)
skip() { echo "tests/gpu: skipped: $*"; exit 77; }
driver="" paths=${LD_LIBRARY_PATH:-}
for dir in $(ldconfig -p 2>/dev/null | sed -nE 's/.*libcuda\.so\.1 .*=> (.*)\/libcuda.*/\1/p') ${paths//:/ } \
  /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/local/nvidia/lib64 /usr/lib/wsl/lib; do
  if [ -z "$driver" ] && [ -e "$dir/libcuda.so.1" ]; then driver=$dir; fi
done
[ -n "$driver" ] || skip "no NVIDIA driver on this machine (libcuda.so.1 not found)"
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$driver
export PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin:/usr/local/cuda/bin
command -v nvcc >/dev/null || skip "no nvcc in PATH, CUDA_HOME or /usr/local/cuda/bin"
command -v g++ >/dev/null || skip "no g++"
cuda_home=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
for dir in "$cuda_home"/{lib64,lib,targets/x86_64-linux/lib}; do # cuBLASLt, if the loader would not find it
  if [ -e "$dir/libcublasLt.so" ]; then LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$dir; fi
done
build=${FULMEN_GPU_BUILD:-$root/build/gpu}
out=${1:-$build/results.json}
part=$build/part.json
mkdir -p "$build" "$(dirname "$out")"
gone() { echo $(($(date +%s) - began)); }
total=${FULMEN_GPU_SECONDS:-520}          # until the end we promise; all times below are shares of 520
share() { echo $(($1 * total / 520)); }
left() { echo $((total - $(gone))); }
reserved=$(share 490)                     # the LEAST of all parts below
status=0
: >"$build/parts.json"
# Is there one whole JSON value in $part? A program that was killed leaves half of one.
whole() {
  [ -s "$part" ] || return 1
  if command -v python3 >/dev/null; then python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$part" 2>/dev/null; return $?; fi
  [ "$(tail -c 2 "$part" | tr -d '\n')" = "}" ] && [ "$(tr -cd '{' <"$part" | wc -c)" = "$(tr -cd '}' <"$part" | wc -c)" ]
}
# All that is known so far, as one JSON value under its name.
write_results() { # FINISHED
  {
    echo "{\"date\": \"$(date -u +%F)\", \"device\": \"$device\", \"toolkit\": \"$toolkit\""
    cat "$build/parts.json"
    echo ", \"seconds\": $(gone), \"finished\": $1, \"passed\": $([ $1 = true ] && [ $status = 0 ] && echo true || echo false)}"
  } >"$out.new"
  mv -f "$out.new" "$out"
}
# Runs $2 for $1 seconds, then ends it and all it started; a GPU that hangs can keep a process that was killed, which is
# then left behind.
running=""
limited() {
  setsid timeout -k 5 "$1" bash -euo pipefail -c "$2" >"$3" 2>&1 &
  running=$!
  local end=$((SECONDS + $1 + 15)) code=137
  while kill -0 $running 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.2; done
  if kill -0 $running 2>/dev/null; then echo "cannot be killed, left behind" >>"$3"; else wait $running && code=0 || code=$?; fi
  kill -KILL -- -$running 2>/dev/null || true
  running=""
  return $code
}
# part NAME SECONDS LEAST COMMAND...: the JSON that the command leaves in $part, or null and why; its exit status in $code.
# The command may use $most seconds. LEAST are kept for it while earlier parts run.
code=0
part() {
  local name=$1 least why=null json=null
  least=$(share "$3")
  most=$(share "$2")
  shift 3
  rm -f "$part"
  code=0
  reserved=$((reserved - least))
  local free=$(($(left) - reserved))
  if [ $free -gt "$(left)" ]; then free=$(left); fi
  [ "$free" -gt "$(share 15)" ] || { echo "$name: no time left"; echo ",\"$name\": null, \"$name (why)\": \"no time left\"" >>"$build/parts.json"; return 0; }
  [ "$most" -lt "$free" ] || most=$free
  echo "== $name ($(gone) s, at most $most more)"
  limited "$most" "$*" "$build/$name.log" || code=$?
  tail -n 40 "$build/$name.log"
  if whole; then json=$(cat "$part"); else why="\"it left no whole JSON value\""; fi
  if [ $code != 0 ]; then
    local said="exit $code"
    [ $code != 124 ] && [ $code != 137 ] || said="ended after $most s"
    why="\"$said: $({ grep -v '^ok' "$build/$name.log" || true; } | tail -1 | tr -d '"\\' | LC_ALL=C tr -cd '[:print:]' | cut -c1-200)\""
    [ $code = 3 ] || status=1  # 3: something is not here
  fi
  echo ",\"$name\": $json, \"$name (why)\": $why" >>"$build/parts.json"
  write_results false
}

# For the GPU that is here, if it says which it is and we have kernels of its own; for all otherwise.
architectures() {
  case $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1) in
    9.0) echo 90a ;;
    8.*) echo 80 ;;
    *) echo 80 90a ;;
  esac
}
build_all() {
  local chosen begin=$(date +%s)
  chosen=$(architectures)
  "$here/build.sh" "$build" $chosen
  echo "{\"architectures\": \"$chosen\", \"seconds\": $(($(date +%s) - begin))}" >"$part"
}
run_tests() { "$build/bin/gpu_test" "$part" $((most * 7 / 8)); }
run_bench() { "$build/bin/gpu_bench" "$part"; }
# The small shapes; each tool slows every kernel down many times, so what there is no time for is left out and said.
run_sanitizer() { # TOOL
  command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not here"; return 3; }
  local code=0 less=""
  # racecheck follows the barriers of mma.sync's kernels, not the copy engine's.
  if [ "$1" = racecheck ] && compute-sanitizer --help 2>/dev/null | grep -q -- --kernel-name-exclude; then less="--kernel-name-exclude kernel_substring=wgmma"; fi
  timeout --foreground -k 5 $((most * 7 / 8)) compute-sanitizer --error-exitcode 9 --tool "$1" $less "$build/bin/gpu_test" --here "$build/sanitized.json" $((most / 2)) \
    CudaRows CudaNorm CudaRouter CudaOptimizer CudaLinear CudaLmHead CudaSampler CudaTensor CudaProduct CudaLightning CudaAttention || code=$?
  [ $code != 124 ] && [ $code != 137 ] || { echo "$1: one test took longer than $((most / 2)) s; nothing found until then"; return 3; }
  echo "{\"clean\": $([ $code = 0 ] && echo true || echo false), \"exit\": $code, $(sed -nE 's/.*("ran": [0-9]+), .*("left_out_for_time": [0-9]+).*/\1, \2/p' "$build/sanitized.json" 2>/dev/null | tail -1)}" | sed 's/, }/}/' >"$part"
  return $code
}
carried() {
  [ -x "$root/build/carry/bin/$1" ] || { echo "build/carry/bin/$1 is not here: tests/gpu/carry.sh makes it on a machine with all packages"; return 3; }
  export LD_LIBRARY_PATH=$root/build/carry/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  local lacks
  lacks=$(ldd "$root/build/carry/bin/$1" 2>&1 | grep -m1 'not found' || true)
  [ -z "$lacks" ] || { echo "build/carry/bin/$1 does not run here: $lacks"; return 3; }
  cp -f "$build"/bin/libfulmen_cuda.so "$root/build/carry/bin/" # of this toolkit
}
limit_of() { sed -nE "s/.*\"$1\": ([0-9.]+).*/\1/p" "$build/bench.json" 2>/dev/null | head -1; }
run_model() {
  carried gpu_model || return $?
  "$root/build/carry/bin/gpu_model" --device cuda --shape G1 --out "$part" --copy "$(limit_of copy_GB_per_s)" --matrix "$(limit_of matrix_TFLOP_per_s)"
}
# The quickstart's model for ten steps on the GPU, over each way of weight sync: no bit may differ, all roots must be equal.
run_loop() {
  carried fulmen-learner || return $?
  local transport first="" roots bits json="" bad=0
  for transport in shm zmq file; do
    local dir=$build/loop-$transport
    rm -rf "$dir"
    (cd "$root" && "$root/build/carry/bin/fulmen-learner" train configs/quickstart.yaml run.dir="$dir" run.device=cuda \
      algorithm.steps=10 sft.steps=20 eval.problems=20 sync.transport=$transport) || { echo "transport $transport: exit $?"; return 1; }
    bits=$(sed -nE 's/.*"numerics\/bits_differing": ?([0-9]+).*/\1/p' "$dir/metrics.jsonl" | awk '{s += $1; n++} END {print n + 0 ": " s + 0}')
    roots=$(sed -nE 's/.*published by [a-z]+: [0-9]+ bytes, root ([0-9a-f]{32})$/\1/p' "$dir/logs/learner-0.log" | sha256sum | cut -c1-32)
    first=${first:-$roots}
    [ "$roots" = "$first" ] && [ "${bits%%:*}" = 10 ] && [ "${bits##*: }" = 0 ] || bad=1
    json="$json${json:+, }\"$transport\": {\"steps\": ${bits%%:*}, \"bits_differing\": ${bits##*: }, \"digest_of_roots\": \"$roots\"}"
  done
  echo "{$json}" >"$part"
  return $bad
}
run_anchors() {
  command -v python3 >/dev/null || { echo "no python3"; return 3; }
  export PYTHONPATH=$root/build/carry/python${PYTHONPATH:+:$PYTHONPATH} # flash-linear-attention, if it was carried
  python3 "$here/anchors.py" $((most * 2 / 3)) "$part"
}

export here root build part began total most=0
export -f gone left share architectures build_all run_tests run_bench run_sanitizer carried limit_of run_model run_loop run_anchors
device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1) || true
toolkit=$(nvcc --version | sed -nE 's/.*release ([0-9.]+).*/\1/p')
trap '[ -z "$running" ] || kill -KILL -- -$running; write_results false; exit 1' TERM INT
# Is it right, then how fast is it, then what others offer. Most seconds of each, and those kept for it.
part build 300 300 build_all
[ -x "$build/bin/gpu_test" ] && [ $code = 0 ] || { echo "tests/gpu: the build failed, see $build/build.log"; exit 1; }
part tests 120 60 run_tests
[ $code != 77 ] || { rm -f "$out"; skip "$(tail -1 "$build/tests.log")"; }
part loop 90 40 run_loop
part bench 60 30 run_bench
cp -f "$part" "$build/bench.json" 2>/dev/null || true
part memcheck 60 20 run_sanitizer memcheck
part model 120 40 run_model
part racecheck 60 0 run_sanitizer racecheck
part anchors 120 0 run_anchors
write_results true
if command -v python3 >/dev/null; then python3 "$here/summary.py" "$out" | tee "$build/table.txt"; else echo "no python3, so no table: $out has the figures"; fi
echo "results: $out ($(gone) s)"
exit "$status"
