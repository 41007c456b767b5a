#!/usr/bin/env bash
# Weights reach the workers by shared memory, sockets and files: the same root digests, the same exported bits.
# usage: transport_test.sh BIN_DIR SOURCE_DIR
. "$(dirname "$0")/run_small.sh"
roots() { sed -nE 's/.*weights version ([0-9]+) published by [a-z]+: ([0-9]+ bytes, root [0-9a-f]{32})$/\1 \2/p' "$work/$1/logs/learner-0.log"; }
for transport in shm zmq file; do
  train $transport sync.transport=$transport rollout.workers=2
  [ "$(roots $transport | wc -l)" -ge 5 ] || fail "$transport: no root digests in the log"
  [ "$(roots $transport)" = "$(roots shm)" ] || fail "$transport: other root digests than shm"
  [ "$(sum $transport)" = "$(sum shm)" ] || fail "$transport: other weights than shm"
  echo "equal: $transport"
done
[ -z "$(find "$work/file" -name '*.weights')" ] || fail "files of versions are left"

# bf16 weights travel as bf16: half the bytes, and still no bit differs
train bf16 model.weights_dtype=bf16 model.head_dtype=bf16
[ "$(grep -c '"numerics/bits_differing": *0[,}]' "$work/bf16/metrics.jsonl")" = 4 ] || fail "bf16: bits differ"
[ "$(roots bf16 | head -1 | cut -d' ' -f2)" -lt "$(($(roots shm | head -1 | cut -d' ' -f2) * 2 / 3))" ] || fail "bf16: not fewer bytes"
echo "equal: bf16 weights, sent in bf16"

train in_turn rollout.in_turn=true rollout.workers=2
[ "$(sum in_turn)" = "$(sum shm)" ] || fail "memory in turn: other weights"
echo "equal: roles that take turns with memory"

# a directory that cannot be
code=0
"$bin/fulmen-learner" train configs/quickstart.yaml "run.dir=$work/bad" "${small[@]}" sync.transport=file sync.directory=/proc/no 2>"$work/bad.err" || code=$?
[ $code = 1 ] && [ "$(grep -c '/proc/no' "$work/bad.err")" = 1 ] || { cat "$work/bad.err"; fail "exit $code for a directory that cannot be"; }
# a transport that is not there, and one that needs GPUs
for bad in sync.transport=rdma "sync.transport=nccl run.device=cpu"; do
  code=0
  "$bin/fulmen-learner" train configs/quickstart.yaml "run.dir=$work/bad" $bad 2>"$work/bad.err" || code=$?
  [ $code = 2 ] && [ "$(wc -l <"$work/bad.err")" = 1 ] && grep -q 'sync.transport' "$work/bad.err" || { cat "$work/bad.err"; fail "$bad: exit $code"; }
done
echo "all equal"
