#!/usr/bin/env bash
# Whole runs on the emulated GPU (tests/cuda_emulation as libfulmen_cuda.so, a driver and an NCCL that are doubles): the
# plug-in, device memory, graphs and NCCL weight sync as processes meet them. What a GPU does with the same calls is not
# shown here.
# usage: emulated_gpu_test.sh BIN_DIR SOURCE_DIR EMULATION_DIR
emulation=$3
. "$(dirname "$0")/run_small.sh"
gpu=$work/gpu
mkdir -p "$gpu/bin" "$gpu/lib"
for program in fulmen-learner fulmen-rollout fulmen-reward; do cp "$bin/$program" "$gpu/bin/"; done # beside the plug-in
cp "$emulation/libfulmen_cuda.so" "$gpu/bin/"
cp "$emulation/libcuda.so.1" "$emulation/libnccl.so.2" "$gpu/lib/"
export EMULATED_OPEN=1 # the NCCL double reads device memory from a thread of its own
export LD_LIBRARY_PATH=$gpu/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
sed -e 's/"hidden_size": 128/"hidden_size": 32/; s/"intermediate_size": 128/"intermediate_size": 32/; s/"num_attention_heads": 16/"num_attention_heads": 2/' \
    -e 's/"num_key_value_heads": 4/"num_key_value_heads": 1/; s/"num_hidden_layers": 8/"num_hidden_layers": 2/; s/"num_local_experts": 8/"num_local_experts": 2/' \
    -e 's/"attn_type_list": \[[0-9, ]*\]/"attn_type_list": [0, 1]/' configs/quickstart/config.json >"$work/model.json"
tiny=(model.path="$work/model.json" run.device=cuda run.threads=1 rollout.threads=1 sft.steps=0 eval.problems=0 algorithm.steps=2
  algorithm.prompts_per_step=2 algorithm.samples_per_prompt=4 rollout.max_new_tokens=12 rollout.max_sequences=8 rollout.memory_mb=8
  optimizer.micro_batch_tokens=256 optimizer.warmup_steps=0 "reward.functions=[python:tests/system/digit_reward.py:reward]" checkpoint.every=0)
run() { # NAME [override...]
  local name=$1
  shift
  timeout $((200 * ${FULMEN_TIME_FACTOR:-1})) "$gpu/bin/fulmen-learner" train configs/quickstart.yaml "run.dir=$work/$name" "${tiny[@]}" "$@" >"$work/$name.out" 2>"$work/$name.err"
}
good() { run "$@" || { echo "run $1 failed:"; tail -20 "$work/$1.err" "$work/$1"/logs/*; exit 1; }; }
roots() { sed -nE 's/.*weights version ([0-9]+) published by [a-z]+: ([0-9]+ bytes, root [0-9a-f]{32})$/\1 \2/p' "$work/$1/logs/learner-0.log"; }

for transport in shm nccl; do
  good $transport sync.transport=$transport rollout.workers=$([ $transport = shm ] && echo 1 || echo 2)
  grep -q 'cuda-sm80 kernels' "$work/$transport.err" "$work/$transport"/logs/* || fail "$transport: not on the emulated GPU"
  [ "$(grep -c '"numerics/bits_differing": *0[,}]' "$work/$transport/metrics.jsonl")" = 2 ] || { cat "$work/$transport/metrics.jsonl"; fail "$transport: bits differ"; }
  [ "$(roots $transport)" = "$(roots shm)" ] && [ "$(roots shm | wc -l)" -ge 3 ] || { roots shm; roots $transport; tail -3 "$work/$transport.out"; fail "$transport: other root digests than shm"; }
  [ "$(sum $transport)" = "$(sum shm)" ] || fail "$transport: other weights than shm"
done
grep -q 'could not be broadcast' "$work/nccl.err" && { cat "$work/nccl.err"; fail "nccl: fell back to sockets"; }
echo "equal: shm and nccl on the emulated GPU, no bit differs"

# two learner ranks: gradients are summed from GPU to GPU, in the order that one rank adds them in
for ranks in 1 2; do good ranks$ranks learner.ranks=$ranks learner.shards=2 learner.collective=nccl; done
[ "$(sum ranks2)" = "$(sum ranks1)" ] || fail "two ranks on GPUs: other weights than one"
[ "$(grep -c '"numerics/bits_differing": *0[,}]' "$work/ranks2/metrics.jsonl")" = 2 ] || fail "two ranks: bits differ"
echo "equal: one and two learner ranks over NCCL"

# shm on one GPU is its memory, and nobody refused it; where the GPU cannot share memory, sockets
grep -q 'published by ipc:' "$work/shm/logs/learner-0.log" || fail "shm: the weights did not go by the GPU's memory"
grep -q 'refused weights\|not shared on the GPU' "$work/shm.err" && { cat "$work/shm.err"; fail "shm: fell back to sockets"; }
EMULATED_NO_IPC=1 good no_ipc sync.transport=shm
grep -q 'is not shared on the GPU: cuda: sharing memory with other processes: operation not supported; it goes by zmq' "$work/no_ipc.err" ||
  { cat "$work/no_ipc.err"; fail "memory that cannot be shared was not named"; }
[ "$(sum no_ipc)" = "$(sum shm)" ] || fail "without IPC: other weights"
echo "equal: GPU memory that processes share, and sockets where it cannot be shared"

# the head on tensor cores, and a library for the products: no bit of rollout and learner differs
good head model.weights_dtype=bf16 model.head_dtype=bf16 run.products=library
[ "$(grep -c '"numerics/bits_differing": *0[,}]' "$work/head/metrics.jsonl")" = 2 ] || { cat "$work/head/metrics.jsonl"; fail "bf16 head: bits differ"; }
for log in learner-0 rollout-0; do
  grep -q 'matrix products: library double' "$work/head.err" "$work/head/logs/$log.log" || fail "$log: the library is not named"
done
echo "equal: bf16 weights and head, products of a library"

# NCCL that is too old: said once a version, and the weights arrive all the same
NCCL_DOUBLE_VERSION=21304 good old sync.transport=nccl
grep -q 'libnccl.so.2 is version 2.13.4, want 2.14.0 or later.*it goes by zmq' "$work/old.err" || { cat "$work/old.err"; fail "the old NCCL was not named"; }
[ "$(sum old)" = "$(sum shm)" ] || fail "after falling back: other weights"
echo "equal: NCCL too old, sockets instead"

says() { # NAME EXIT PATTERN [override...]: one line
  local name=$1 want=$2 pattern=$3 code=0
  shift 3
  run "$name" "$@" || code=$?
  [ $code = "$want" ] && [ "$(grep -Ec -- "$pattern" "$work/$name.err")" = 1 ] || { cat "$work/$name.err"; fail "$name: exit $code, want $want and one line with /$pattern/"; }
}
says index 1 'run.device: got cuda:3, but GPU 3 is not there: this machine has one, cuda:0' run.device=cuda:3
EMULATED_DRIVER=11040 says driver 1 'supports CUDA 11.4, older than the CUDA 13.0 this build needs: update the driver'
EMULATED_DEVICES=0 says none 1 'run.device: got cuda, but the driver of this machine sees no GPU'
says memory 2 'memory of the GPU: .* wanted, .* available; lower optimizer.micro_batch_tokens from 4000000 to [0-9]+' optimizer.micro_batch_tokens=4000000
says cpu_workers 2 'sync.transport: got nccl, which needs GPUs, but rollout.device is cpu; want shm, zmq or file' sync.transport=nccl rollout.device=cpu
says name 2 'run.device: got "gpu", want auto, cpu, cuda or cuda:N' run.device=gpu
echo "each fault is one line"
