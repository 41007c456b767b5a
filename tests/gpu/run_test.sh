#!/usr/bin/env bash
# tests/gpu/run.sh with every tool of a GPU machine put in place by a script: what it makes of tests that pass, fail, hang or
# are not there is one JSON that can be read.
# usage: run_test.sh SOURCE_DIR SCRATCH_DIR
set -euo pipefail
source=$1 scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch/tools"
tool() { printf '#!/usr/bin/env bash\n%s\n' "$2" >"$scratch/tools/$1"; chmod +x "$scratch/tools/$1"; }
touch "$scratch/tools/libcuda.so.1"
tool ldconfig "echo '	libcuda.so.1 (libc6,x86-64) => $scratch/tools/libcuda.so.1'"
tool nvcc 'echo "Cuda compilation tools, release 13.0, V13.0.88"'
tool compute-sanitizer 'exit 9'
tool gpu_bench 'echo "{\"device\": \"Fake GPU\", \"copy_GB_per_s\": 2500.5, \"matrix_TFLOP_per_s\": 600, \"adamw 67M\": {\"us\": 900.0, \"of_copy\": 0.85, \"of_matrix\": 0}}" >"$1"'
check() { # PYTHON: of the result r
  python3 - "$scratch/out.json" "$1" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
assert eval(sys.argv[2]), (sys.argv[2], r)
PY
}
# The script beside stand-ins for its build and its Python; the programs that were carried are not there.
mkdir -p "$scratch/tree/tests/gpu"
cp "$source"/tests/gpu/{run.sh,summary.py} "$scratch/tree/tests/gpu/"
build_with() { printf '#!/usr/bin/env bash\n%s\n' "$1" >"$scratch/tree/tests/gpu/build.sh"; chmod +x "$scratch/tree/tests/gpu/build.sh"; }
build_with 'mkdir -p "$1/bin"; cp "'"$scratch"'"/tools/{gpu_test,gpu_bench} "$1/bin/"; touch "$1/bin/libfulmen_cuda.so"; [ "$2" = 90a ]'
anchors() { echo "$1" >"$scratch/tree/tests/gpu/anchors.py"; }
anchors 'import sys; open(sys.argv[2], "w").write("""{"torch": null, "why": "no torch here"}""")'
tool nvidia-smi '[[ "$*" = *compute_cap* ]] && echo 9.0 || echo "Fake GPU, 580.1"'
run() { code=0; rm -f "$scratch/out.json"; PATH=$scratch/tools:$PATH FULMEN_GPU_BUILD=$scratch/build "$scratch/tree/tests/gpu/run.sh" "$scratch/out.json" >"$scratch/log" 2>&1 || code=$?; }

tool gpu_test 'echo "{\"device\": \"Fake GPU\", \"tests\": {}, \"failed\": 0}" >"$1"'
run
check 'r["tests"]["failed"] == 0 and r["tests (why)"] is None and r["bench"]["copy_GB_per_s"] == 2500.5'
check 'r["memcheck"] == {"clean": False, "exit": 9} and not r["passed"]'
check 'r["build"]["architectures"] == "90a" and r["build (why)"] is None'
check '[t for t in r["table"] if t["case"] == "adamw 67M"][0]["reached"] == "bar" and "no torch here" in str(r["table"])'
check 'r["device"] == "Fake GPU, 580.1" and r["toolkit"] == "13.0" and r["seconds"] < 500'
check 'r["model"] is None and "carry.sh" in r["model (why)"]'
[ $code = 1 ] || { cat "$scratch/log"; echo "exit $code although memcheck is not clean"; exit 1; }

# The carried programs: one that hangs half way through its JSON, a run of which a bit differs; times of others.
mkdir -p "$scratch/tree/build/carry/bin" "$scratch/tree/configs"
carried() { printf '#!/usr/bin/env bash\n%s\n' "$2" >"$scratch/tree/build/carry/bin/$1"; chmod +x "$scratch/tree/build/carry/bin/$1"; }
carried gpu_model 'printf "{\"batch 64" >"$6"; echo "said \"this\" and \\ then"; exit 1'
carried fulmen-learner 'for a in "$@"; do case $a in run.dir=*) d=${a#*=} ;; esac; done; mkdir -p "$d/logs"; for i in {1..10}; do echo "{\"numerics/bits_differing\": 0}"; done >"$d/metrics.jsonl"; echo "weights version 1 published by x: 9 bytes, root 00112233445566778899aabbccddeeff" >"$d/logs/learner-0.log"'
anchors 'import sys; print("a library says hello"); open(sys.argv[2], "w").write("""{"torch": "2", "cases": {"adamw 67M": {"torch fused": {"seconds": 0.0018}, "torch foreach": {"seconds": null, "why": "x"}}}}""")'
rm "$scratch/tools/compute-sanitizer"
run
check 'r["model"] is None and r["model (why)"] == "exit 1: said this and  then" and not r["passed"]'
check 'r["loop"]["zmq"]["steps"] == 10 and r["loop"]["file"]["bits_differing"] == 0 and r["loop (why)"] is None'
check '[t for t in r["table"] if t["case"] == "adamw 67M"][0]["ratios"] == {"torch fused": 2.0}'
grep -q 'adamw 67M .* 0.850 of_copy .* bar .* 2.00 x torch fused' "$scratch/log"
rm -r "$scratch/tree/build"

run
command -v compute-sanitizer >/dev/null || { check 'r["memcheck"] is None and "not here" in r["memcheck (why)"] and r["passed"]'; [ $code = 0 ]; }

tool gpu_test 'echo "ok    A.B"; echo "{\"failed\": 1}" >"$1"; echo "FAIL  Suite.Case  0.1 s"; exit 1'
run
check 'r["tests"]["failed"] == 1 and "FAIL  Suite.Case" in r["tests (why)"] and not r["passed"]'
[ $code = 1 ] || { echo "exit $code although a test failed"; exit 1; }

build_with 'echo "x.cu: error"; exit 255'
run
[ $code = 1 ] && grep -q 'the build failed' "$scratch/log" || { cat "$scratch/log"; echo "exit $code although the build failed"; exit 1; }
build_with 'mkdir -p "$1/bin"; cp "'"$scratch"'"/tools/{gpu_test,gpu_bench} "$1/bin/"'

# A test that hangs and does not hear: what was found before stays, and the other parts have their time.
tool gpu_test 'echo "{\"tests\": {\"A.B\": {\"passed\": true}}, \"failed\": 0}" >"$1"; echo "ok    A.B"; trap "" TERM; sleep 600 & wait; sleep 600'
FULMEN_GPU_SECONDS=30 run
check 'r["tests"]["tests"]["A.B"]["passed"] and r["tests (why)"].startswith("ended after 6 s") and r["bench"]["copy_GB_per_s"] == 2500.5'
check 'r["finished"] and not r["passed"] and r["seconds"] < 25'
[ $code = 1 ] || { echo "exit $code although a test hung"; exit 1; }

# The machine is taken away in the middle: what is known by then is in the JSON, and nothing goes on behind it.
rm -f "$scratch/out.json"
PATH=$scratch/tools:$PATH FULMEN_GPU_BUILD=$scratch/build "$scratch/tree/tests/gpu/run.sh" "$scratch/out.json" >"$scratch/log" 2>&1 &
script=$!
for _ in {1..100}; do [ ! -s "$scratch/build/part.json" ] || ! grep -q '^== tests' "$scratch/log" || break; sleep 0.1; done
check 'r["build"]["architectures"] == "90a" and not r["finished"]'
kill $script
code=0
wait $script || code=$?
check 'r["build"]["architectures"] == "90a" and not r["finished"] and not r["passed"]'
[ $code = 1 ] || { cat "$scratch/log"; echo "exit $code of a script that was ended"; exit 1; }
for _ in {1..100}; do pgrep -f "$scratch/build/bin/gpu_test" >/dev/null || break; sleep 0.1; done
! pgrep -af "$scratch/build/bin/gpu_test" || { echo "a test goes on"; exit 1; }

tool gpu_test 'echo "gpu_test: an NVIDIA driver, but no device"; exit 77'
run
[ $code = 77 ] && grep -q 'skipped: gpu_test: an NVIDIA driver, but no device' "$scratch/log" || { cat "$scratch/log"; echo "exit $code without a device"; exit 1; }
echo "all as it should be"
