#!/usr/bin/env bash
# What a run does when its rewards cannot be trusted. usage: reward_alarm_test.sh BIN_DIR SOURCE_DIR
set -euo pipefail
bin=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$source"

small=(sft.steps=1 sft.examples_per_step=4 algorithm.steps=2 algorithm.prompts_per_step=2 algorithm.samples_per_prompt=2
  rollout.max_new_tokens=8 rollout.max_sequences=4 eval.problems=0 log.tensorboard=false checkpoint.export_final=false)
train() { # NAME [override...]; leaves the exit code in $code
  local name=$1
  shift
  code=0
  timeout $((100 * ${FULMEN_TIME_FACTOR:-1})) "$bin/fulmen-learner" train configs/quickstart.yaml "run.dir=$work/$name" "${small[@]}" "$@" \
    >"$work/$name.out" 2>"$work/$name.err" || code=$?
}
fail() { echo "$1"; tail -n 20 "$work"/*.err; exit 1; }

cat >"$work/broken.py" <<'PY'
def reward(response):
    raise ValueError("the answer key is gone")
PY
cat >"$work/fine.py" <<'PY'
def reward(response, tokens=0):
    return {"score": float(len(response) % 3), "length": len(response)}
PY

train stop "reward.functions=[python:$work/broken.py:reward]" reward.on_alarm=stop
[ $code = 1 ] || [ $code = 2 ] || fail "a reward that always fails: exit code $code"
grep -q 'of 4 verdicts failed (4 errors' "$work/stop.err" && grep -q 'the answer key is gone' "$work/stop.err" ||
  fail "the reason was not said"
[ -d "$work/stop/checkpoints/step_0" ] || fail "no checkpoint was written"
echo "stopped: a reward that fails"

echo '{"response":"abc","score":0}' >"$work/golden.jsonl"
echo '{"response":"abcd","score":7}' >>"$work/golden.jsonl"
train golden "reward.functions=[python:$work/fine.py:reward]" "reward.golden=$work/golden.jsonl"
[ $code != 0 ] || fail "a wrong golden verdict did not stop the start"
grep -q 'golden.jsonl:2: got score 1, want score 7' "$work/golden.err" || fail "the wrong golden case was not named"
echo "not started: a golden case with another verdict"

echo '{"response":"abc","score":0.5}' >"$work/golden.jsonl"
train fine "reward.functions=[python:$work/fine.py:reward, 'format(tags=optional)=0.5']" "reward.golden=$work/golden.jsonl" \
  reward.golden_every=1 reward.workers=2
[ $code = 0 ] || fail "a good run failed"
python3 - "$work/fine" <<'PY'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1] + "/metrics.jsonl")]
steps = [r for r in rows if "reward/verdict/error" in r]
assert len(steps) == 2, rows
for r in steps:
    assert "reward/component/reward" in r and "reward/component/format" in r and "reward/component/length" in r, r
episodes = [json.loads(l) for l in open(sys.argv[1] + "/episodes/step_1.jsonl")]
for e in episodes:
    assert abs(e["score"] - e["components"]["reward"] - 0.5 * e["components"]["format"]) < 1e-9, e
PY
echo "components are logged apart"

timeout $((100 * ${FULMEN_TIME_FACTOR:-1})) "$bin/fulmen-learner" train configs/quickstart.yaml "run.dir=$work/pause" "${small[@]}" algorithm.steps=1 \
  "reward.functions=[python:$work/broken.py:reward]" >"$work/pause.out" 2>"$work/pause.err" &
pid=$!
for _ in $(seq 900); do
  grep -q 'paused at step 0' "$work/pause.err" 2>/dev/null && break
  kill -0 $pid 2>/dev/null || fail "the run ended and did not pause"
  sleep 0.1
done
kill -0 $pid || fail "the run ended and did not pause"
touch "$work/pause/continue"
wait $pid || fail "the run did not go on"
echo "paused, and went on"
