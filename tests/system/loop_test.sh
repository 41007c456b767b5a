#!/usr/bin/env bash
# The loop end to end, with processes as a user starts them: exact bits, equal exports for equal config and seed whatever the
# number of workers, after kill -9 and --resume, and after the death of a worker in the middle of a step.
# usage: loop_test.sh BIN_DIR SOURCE_DIR
. "$(dirname "$0")/run_small.sh"
check_bits() { # every step compared tokens, none differs
  python3 - "$work/$1/metrics.jsonl" "$2" <<'PY'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
steps = [r for r in rows if "numerics/bits_differing" in r]
assert len(steps) == int(sys.argv[2]), f"{len(steps)} steps in metrics.jsonl, want {sys.argv[2]}"
for r in steps:
    assert r["numerics/tokens_compared"] > 0, r
    assert r["numerics/bits_differing"] == 0, r
    assert r["training/rollout_actor_probs_pearson_corr"] == 1, r
    assert r["training/updates"] == 1, r
    dropped = sum(v for k, v in r.items() if k.startswith("training/dropped/"))
    assert r["training/issued"] == r["training/trained"] + dropped == 24, r
PY
}

train a
check_bits a 4
train b
[ "$(sum a)" = "$(sum b)" ] || { echo "same config and seed, other weights"; exit 1; }
echo "equal: two runs"
train c rollout.workers=2 rollout.prefill_rows=7 rollout.max_sequences=5 optimizer.micro_batch_tokens=200
check_bits c 4
[ "$(sum a)" = "$(sum c)" ] || { echo "two rollout workers, other schedule: other weights"; exit 1; }
echo "equal: two workers, other batching"
train seed run.seed=2
[ "$(sum a)" != "$(sum seed)" ] || { echo "another seed gave the same weights: the comparison proves nothing"; exit 1; }

# kill -9 of the whole run in a step, then --resume
start d
wait_for "$work/d/checkpoints/step_2"
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
[ ! -d "$work/d/export" ] || { echo "the run was over before it could be killed"; exit 1; }
train d --resume
check_bits d 4
[ "$(sum a)" = "$(sum d)" ] || { echo "killed and resumed: other weights"; exit 1; }
echo "equal: kill -9 and --resume"

# a rollout worker dies in the middle of a step
start e rollout.workers=2
wait_for "$work/e/checkpoints/step_1"
worker=$(pgrep -P $pid -f 'rollout-1' | head -1)
[ -n "$worker" ] && kill -9 "$worker"
wait $pid || { echo "run e failed:"; tail -20 "$work/e.err"; exit 1; }
check_bits e 4
grep -q 'rollout-1 lost' "$work/e.err" || { echo "the death of rollout-1 was not said"; exit 1; }
[ "$(sum a)" = "$(sum e)" ] || { echo "a worker died: other weights"; exit 1; }
echo "equal: a worker killed in a step"

# a second process in the same run directory, and a run directory that is taken
if "$bin/fulmen-learner" train configs/quickstart.yaml "run.dir=$work/a" "${small[@]}" 2>"$work/again.err"; then
  echo "an existing run was overwritten"; exit 1
fi
grep -q 'already holds a run' "$work/again.err"
if "$bin/fulmen-learner" train configs/quickstart.yaml rollot.workers=2 2>"$work/key.err"; then exit 1; else code=$?; fi
[ $code = 2 ] && grep -q 'did you mean rollout.workers' "$work/key.err" || { cat "$work/key.err"; exit 1; }
echo "all equal"
