#!/usr/bin/env bash
# Several learner ranks: the same export for any number of them, and one clear line when one dies, after which the run resumes.
# usage: ranks_test.sh BIN_DIR SOURCE_DIR
. "$(dirname "$0")/run_small.sh"
small+=(sft.examples_per_step=64 algorithm.prompts_per_step=16 algorithm.samples_per_prompt=8 algorithm.steps=2) # several shards

train one
train two learner.ranks=2
[ "$(sum one)" = "$(sum two)" ] || fail "two ranks, other weights than one"
grep -q 'rank 1 of 2 is ready' "$work/two/logs/learner-1.log" || fail "rank 1 said nothing"
train shards learner.shards=1
[ "$(sum one)" != "$(sum shards)" ] || fail "one shard gave the same weights: the batches are too small to prove anything"
echo "equal: one rank, two ranks"

# rank 1 dies after step 1
start dead learner.ranks=2 algorithm.steps=30 checkpoint.every=0
wait_for "$work/dead/episodes/step_1.jsonl"
rank=$(pgrep -P $pid -f -- '--rank 1' | head -1)
[ -n "$rank" ] || fail "rank 1 is not a child of the run"
kill -9 "$rank"
wait $pid && fail "the run went on without rank 1"
grep -q 'learner rank 1 of 2 ended (killed by signal 9)' "$work/dead.err" || { cat "$work/dead.err"; exit 1; }
grep -q 'is kept after step' "$work/dead.err" || { cat "$work/dead.err"; exit 1; }
step=$(ls "$work/dead/checkpoints" | tail -1)
train dead --resume learner.ranks=2 "algorithm.steps=$((${step#step_} + 1))"
grep -q "resumed from .*$step" "$work/dead.err" || fail "did not resume from $step"
echo "a dead rank is named, its run resumes from $step"

# SIGTERM in the cold start, where the ranks are in the middle of sums
start term learner.ranks=2 sft.steps=400
wait_for "$work/term/episodes/eval_start.jsonl"
sleep 0.3
kill -TERM $pid
wait $pid && fail "the run went on" || code=$?
[ $code = 75 ] && grep -q 'stopped by SIGTERM' "$work/term.err" || { cat "$work/term.err"; exit 1; }
[ -z "$(pgrep -f -- "$work/term" || true)" ] || fail "processes of run term are left"

"$bin/fulmen-learner" train configs/quickstart.yaml "run.dir=$work/many" learner.ranks=5 2>"$work/many.err" && fail "five ranks for four shards" || code=$?
[ $code = 2 ] && grep -q 'learner.ranks: got 5, want at most learner.shards = 4' "$work/many.err" || { cat "$work/many.err"; exit 1; }
