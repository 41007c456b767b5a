# Sourced by the system tests: small runs of the quickstart, as a user starts them.
# in: $1 BIN_DIR, $2 SOURCE_DIR. out: $bin, $work (gone at the end), functions below; the working directory is the source.
set -euo pipefail
bin=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$source"

# A few small steps; every run gets the same config but for what it is about.
small=(sft.steps=8 sft.examples_per_step=16 algorithm.steps=4 algorithm.prompts_per_step=6 algorithm.samples_per_prompt=4
  "reward.functions=[python:tests/system/digit_reward.py:reward]" optimizer.lr=1e-3 rollout.max_new_tokens=24 rollout.max_sequences=16 eval.problems=10 checkpoint.every=1 optimizer.warmup_steps=0)
fail() { echo "$*"; exit 1; }
start() { # NAME [override...]: in the background, its pid in $pid
  local name=$1
  shift
  "$bin/fulmen-learner" train configs/quickstart.yaml "run.dir=$work/$name" "${small[@]}" "$@" >"$work/$name.out" 2>"$work/$name.err" &
  pid=$!
}
train() { # NAME [override...]: to its end
  start "$@"
  wait $pid || { echo "run $1 failed:"; tail -20 "$work/$1.err"; exit 1; }
}
wait_for() { # PATH: until it exists or $pid has ended
  for _ in $(seq 1200); do
    [ -e "$1" ] && return
    kill -0 $pid 2>/dev/null || return 0
    sleep 0.05
  done
}
sum() { sha256sum "$work/$1"/export/*.safetensors | cut -d' ' -f1; }
