#!/usr/bin/env bash
# tests/gpu/run.sh with every tool of a GPU machine put in place by a script: what it makes of tests that pass, fail, hang or
# are not there is one JSON that can be read.
# usage: run_test.sh SOURCE_DIR SCRATCH_DIR
set -euo pipefail
source=$1 scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch/tools"
tool() { printf '#!/usr/bin/env bash\n%s\n' "$2" >"$scratch/tools/$1"; chmod +x "$scratch/tools/$1"; }
tool ldconfig 'echo "libcuda.so.1 (libc6,x86-64) => /fake"'
tool nvcc 'echo "Cuda compilation tools, release 13.0, V13.0.88"'
tool nvidia-smi 'echo "Fake GPU, 580.1"'
tool compute-sanitizer 'exit 9'
tool cmake 'mkdir -p "$FULMEN_GPU_BUILD/bin"; cp "$(dirname "$0")/gpu_test" "$(dirname "$0")/gpu_bench" "$FULMEN_GPU_BUILD/bin/"; touch "$FULMEN_GPU_BUILD/bin/libfulmen_cuda.so"'
tool gpu_bench 'echo "{\"device\": \"Fake GPU\", \"copy_GB_per_s\": 2500.5, \"mma_TFLOP_per_s\": 600}" >"$1"'
check() { # PYTHON: of the result r
  python3 - "$scratch/out.json" "$1" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
assert eval(sys.argv[2]), (sys.argv[2], r)
PY
}
run() { code=0; rm -f "$scratch/out.json"; PATH=$scratch/tools:$PATH FULMEN_GPU_BUILD=$scratch/build "$source/tests/gpu/run.sh" "$scratch/out.json" >"$scratch/log" 2>&1 || code=$?; }

tool gpu_test 'echo "{\"device\": \"Fake GPU\", \"tests\": {}, \"failed\": 0}" >"$1"'
run
check 'r["tests"]["failed"] == 0 and r["tests (why)"] is None and r["bench"]["copy_GB_per_s"] == 2500.5'
check 'r["memcheck"] == {"clean": False, "exit": 9} and not r["passed"]'
check 'r["device"] == "Fake GPU, 580.1" and r["toolkit"] == "13.0" and r["seconds"] < 500'
[ -e "$source/build/carry/bin/gpu_model" ] || check 'r["model"] is None and "carry.sh" in r["model (why)"]'
[ $code = 1 ] || { cat "$scratch/log"; echo "exit $code although memcheck is not clean"; exit 1; }

rm "$scratch/tools/compute-sanitizer"
run
command -v compute-sanitizer >/dev/null || { check 'r["memcheck"] is None and "not here" in r["memcheck (why)"] and r["passed"]'; [ $code = 0 ]; }

tool gpu_test 'echo "ok    A.B"; echo "{\"failed\": 1}" >"$1"; echo "FAIL  Suite.Case  0.1 s"; exit 1'
run
check 'r["tests"]["failed"] == 1 and "FAIL  Suite.Case" in r["tests (why)"] and not r["passed"]'
[ $code = 1 ] || { echo "exit $code although a test failed"; exit 1; }

tool gpu_test 'echo "gpu_test: an NVIDIA driver, but no device"; exit 77'
run
[ $code = 77 ] && grep -q 'skipped: gpu_test: an NVIDIA driver, but no device' "$scratch/log" || { cat "$scratch/log"; echo "exit $code without a device"; exit 1; }
echo "all as it should be"
