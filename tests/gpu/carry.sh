#!/usr/bin/env bash
# Makes build/carry from a built tree: programs that need Protobuf, ZeroMQ and the like, stripped, with those libraries
# beside them, so that tests/gpu/run.sh can run them on a GPU machine that has only the CUDA toolkit.
# usage: tests/gpu/carry.sh [BUILD_DIR [FLA]]   (default build/cpu; glibc there must not be newer than on the GPU machine)
# FLA: the folder fla/ of flash-linear-attention, with which anchors.py compares ours; packaging/ and einops/ beside it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
from=${1:-$root/build/cpu}
to=$root/build/carry
rm -rf "$to"
mkdir -p "$to/bin" "$to/lib"
for program in fulmen-learner fulmen-rollout fulmen-reward fulmen-model gpu_model; do
  [ -x "$from/bin/$program" ] || { echo "carry.sh: $from/bin/$program is not built"; exit 1; }
  strip -o "$to/bin/$program" "$from/bin/$program"
done
# All but what belongs to the C library, which must be that of the machine.
ldd "$to"/bin/* | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
  grep -Ev '/(libc|libm|libdl|librt|libpthread|libresolv|ld-linux[^/]*)\.so' | while read -r library; do cp -L "$library" "$to/lib/"; done
if [ -n "${2:-}" ]; then
  mkdir -p "$to/python" && cp -R "$2" "$to/python/fla"
  for needed in packaging einops; do # which a machine with PyTorch and Triton may not have
    [ -d "$(dirname "$2")/$needed" ] || { echo "carry.sh: no $needed beside $2: pip install --target DIR --no-deps fla-core flash-linear-attention packaging einops"; exit 1; }
    cp -R "$(dirname "$2")/$needed" "$to/python/"
  done
fi
du -sh "$to" | sed 's/\t/ in /'
