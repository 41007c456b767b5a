#!/usr/bin/env bash
# What can go wrong around a run: each fault is one clear line, and nothing is lost: the run goes on, or resumes, to the same bits.
# usage: faults_test.sh BIN_DIR SOURCE_DIR
. "$(dirname "$0")/run_small.sh"
ends() { # NAME CODE PATTERN: the background run ends with that code and says so on stderr
  local code=0
  wait $pid || code=$?
  [ $code = "$2" ] || { echo "run $1: exit $code, want $2"; tail -20 "$work/$1.err"; exit 1; }
  [ "$(grep -Ec -- "$3" "$work/$1.err")" = 1 ] || { echo "run $1: want one line with /$3/"; tail -20 "$work/$1.err"; exit 1; }
}

train plain

# SIGTERM in a step: the last whole step is kept, although checkpoints are far apart; exit 75
start term checkpoint.every=0
wait_for "$work/term/episodes/step_2.jsonl"
kill -TERM $pid
ends term 75 'stopped by SIGTERM'
grep -Eq 'is kept after step [23]: add --resume' "$work/term.err" || { cat "$work/term.err"; exit 1; }
train term --resume checkpoint.every=0
[ "$(sum term)" = "$(sum plain)" ] || fail "stopped and resumed: other weights"
[ -z "$(pgrep -f -- "$work/term" || true)" ] || fail "processes of run term are left"
echo "equal: SIGTERM and --resume"

# before the first checkpoint there is nothing to keep, and --resume begins again
start early
wait_for "$work/early/logs/rollout-0.log"
kill -TERM $pid
ends early 75 'holds no checkpoint yet'
train early --resume
[ "$(sum early)" = "$(sum plain)" ] || fail "stopped in the cold start and begun again: other weights"
echo "equal: SIGTERM before the first checkpoint"

# a reward service dies in a step
start reward
wait_for "$work/reward/checkpoints/step_1"
kill -9 "$(pgrep -P $pid -f 'name reward-0' | head -1)"
ends reward 0 'reward-0 lost'
[ "$(sum reward)" = "$(sum plain)" ] || fail "a reward service died: other weights"
echo "equal: a reward service killed in a step"

# a worker that cannot run with this configuration is named with what it said, and not started again and again
start broken "reward.functions=[python:no_such.py:reward]"
ends broken 2 'error: reward-0: .*no_such.py'

# the disk is full while a checkpoint is written: the one before stays, and the run resumes from it
train full algorithm.steps=2
(ulimit -f 25000; start full --resume; wait $pid) && fail "a checkpoint larger than the limit was written" || code=$?
[ "$code" = 1 ] || fail "disk full: exit $code, want 1"
[ "$(grep -Ec 'error: .*adamw.bin.*File too large' "$work/full.err")" = 1 ] || { cat "$work/full.err"; exit 1; }
grep -q 'is kept after step 2: add --resume' "$work/full.err" || { cat "$work/full.err"; exit 1; }
[ -z "$(ls "$work/full/checkpoints" | grep -v '^step_[12]$' || true)" ] || fail "leftovers: $(ls "$work/full/checkpoints")"
train full --resume
[ "$(sum full)" = "$(sum plain)" ] || fail "disk full, then resumed: other weights"
echo "equal: disk full while checkpointing"

# the port is taken
python3 - "$work/port" <<'PY' &
import socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
open(sys.argv[1], "w").write(str(s.getsockname()[1])); time.sleep(120)
PY
holder=$!
while [ ! -s "$work/port" ]; do sleep 0.05; done
start tcp "sync.bind=tcp://127.0.0.1:$(cat "$work/port")"
ends tcp 1 "error: .*tcp://127.0.0.1:$(cat "$work/port").*in use"
kill $holder
echo "port in use: one line"
