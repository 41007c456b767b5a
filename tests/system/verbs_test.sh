#!/usr/bin/env bash
# Every verb on a fresh run, as a user types it: what it prints, its exit code, and one clear line for what cannot be done.
# usage: verbs_test.sh BIN_DIR SOURCE_DIR
. "$(dirname "$0")/run_small.sh"
fulmen() { "$bin/fulmen" "$@"; }
says() { # PATTERN COMMAND...: exit 0 and a line of the output matches
  local pattern=$1
  shift
  "$@" >"$work/said" 2>"$work/said.err" || { echo "failed: $*"; cat "$work/said" "$work/said.err"; exit 1; }
  grep -Eq -- "$pattern" "$work/said" || { echo "want /$pattern/ from: $*"; head -50 "$work/said"; exit 1; }
}
refuses() { # CODE PATTERN COMMAND...: that exit code, one line of which matches on stderr
  local want=$1 pattern=$2 code=0
  shift 2
  "$@" >"$work/said" 2>"$work/said.err" || code=$?
  [ $code = "$want" ] || { echo "exit $code, want $want: $*"; cat "$work/said" "$work/said.err"; exit 1; }
  [ -z "$pattern" ] || grep -Eq -- "$pattern" "$work/said.err" || { echo "want /$pattern/ on stderr from: $*"; cat "$work/said.err"; exit 1; }
}

for verb in train sft eval plan replay generate score report top diff inspect import export convert tokenize task doctor learner rollout reward; do
  says "[Uu]sage|[Uu]SAGE|$verb" fulmen "$verb" --help
done

train r
run=$work/r
says 'It fits' fulmen plan configs/quickstart.yaml "run.dir=$run"
refuses 1 '' fulmen plan configs/quickstart.yaml model.path=configs/m1/config.json
grep -q 'It does not fit. memory: .* TB wanted' "$work/said" || { cat "$work/said"; exit 1; }
refuses 2 'did you mean rollout.workers' fulmen plan configs/quickstart.yaml rollot.workers=2
refuses 2 'model.path: got no/such, which does not exist' fulmen plan configs/quickstart.yaml model.path=no/such
refuses 2 'no/such.yaml: cannot open' fulmen train no/such.yaml
refuses 2 'model.path: got no/such, which does not exist' fulmen generate --model no/such --prompt 1
refuses 2 'error: DST is required \(fulmen export --help shows how\)' fulmen export no/such

# What stands in a file is found from another directory too, and relative words are seen from there.
(cd "$work" && says 'It fits' fulmen plan "$source/configs/quickstart.yaml" run.dir=r)

# A finished run once more: the table keeps its figures; what was changed is named.
cp -r "$run" "$work/again"
fulmen train configs/quickstart.yaml "run.dir=$work/again" "${small[@]}" --resume optimizer.lr=1e-2 >"$work/again.out" 2>"$work/again.err" || { cat "$work/again.err"; exit 1; }
grep -q 'changed since the checkpoint: optimizer.lr: 0.001 | 0.01' "$work/again.err" || { cat "$work/again.err"; exit 1; }
grep -q 'step 4 of 4 was reached before; algorithm.steps=N would go on' "$work/again.err" || { cat "$work/again.err"; exit 1; }
for figure in reward generated 'training = inference'; do
  cmp <(grep "^  $figure" "$work/r.out") <(grep "^  $figure" "$work/again.out") || fail "resumed: another line of $figure"
done
! grep -q 'cold start 0.0 s' "$work/again.out" || fail "resumed: the time of the cold start is lost"

# A mistake in the rewards is one line, exit 2, and does not occupy the directory.
for _ in 1 2; do
  refuses 2 'error: reward-0: unknown reward function mth, did you mean math' fulmen train configs/quickstart.yaml "run.dir=$work/mistake" 'reward.functions=[mth]'
done

says 'metrics .*all the same' fulmen replay "$run" --step 4 rollout.workers=2 optimizer.micro_batch_tokens=333
grep -q 'episodes .*all the same' "$work/said" && grep -q 'weights .*all the same bytes' "$work/said" || { cat "$work/said"; exit 1; }
[ ! -e "$run/replay" ] || fail "a replay that agreed left $run/replay"
refuses 1 'cannot be replayed: .* keeps checkpoints of the steps \[4, 3\]' fulmen replay "$run" --step 2
cp -r "$run" "$work/bent"
sed -i '1s/"bits":"./"bits":"x/' "$work/bent/episodes/step_4.jsonl"
refuses 1 '' fulmen replay "$work/bent" --step 4
grep -q 'episodes .*differ, first: prompt [0-9]* sample [0-9]*: bits: recorded' "$work/said" || { cat "$work/said"; exit 1; }
echo "plan, replay"

fulmen sft configs/quickstart.yaml "run.dir=$work/sft" "${small[@]}" >"$work/sft.out" 2>&1 || { cat "$work/sft.out"; exit 1; }
[ -s "$work/sft/export/model.safetensors.index.json" ] || fail "sft exported nothing"
says 'accuracy 0\.[0-9]+ on 10 problems|accuracy 1' fulmen eval configs/quickstart.yaml "model.path=$run/export" "run.dir=$work/eval" eval.problems=10
cp "$run/config.resolved.yaml" "$work/before.yaml"
says 'accuracy' fulmen eval configs/quickstart.yaml "model.path=$run/checkpoints/step_4" "run.dir=$run" eval.problems=10
cmp "$run/config.resolved.yaml" "$work/before.yaml" || fail "eval changed what the run says of itself"
[ -s "$run/export/tokenizer.json" ] && [ -s "$run/export/tokenizer_config.json" ] || fail "the export has no tokenizer"
says '.' fulmen generate --model "$run/export" --prompt '1+2=' --max-new-tokens 8
cp "$work/said" "$work/by_prompt"
for model in "$run" "$run/checkpoints/step_4"; do
  echo '1+2=' | says '.' fulmen generate --model "$model" --max-new-tokens 8
  cmp "$work/said" "$work/by_prompt" || fail "another answer from $model, asked by standard input"
done
refuses 2 'temperature: .*-1' fulmen generate --model "$run" --prompt 1 --temperature -1
refuses 2 'unknown language pythn, did you mean python' fulmen score --kind code --language pythn /dev/null
says '"kind":"score"|"verdict":"score"' fulmen score <<<'{"id":1,"data_source":"gsm8k","response":"so #### 1,234","ground_truth":"1234"}'
# A program in the sandbox; its control groups are gone when the verb is (those of the living are somebody else's).
groups() { find /sys/fs/cgroup -type d -name 'fulmen-[0-9]*' 2>/dev/null | while read -r g; do p=${g##*/fulmen-}; kill -0 "${p%%-*}" 2>/dev/null || echo "$g"; done | sort; }
groups >"$work/groups"
says '"score":1.0' fulmen score --kind code --language python <<<'{"id":1,"response":"print(int(input())*2)","ground_truth":{"inputs":["2\n"],"outputs":["4\n"]}}'
[ -z "$(groups | comm -13 "$work/groups" -)" ] || fail "control groups are left: $(groups | comm -13 "$work/groups" - | head -3)"
says 'read back and equal' fulmen export "$run/checkpoints/step_4" "$work/exported" --dtype f32
says '4,452,992' fulmen inspect "$run/export"
says 'report' fulmen report "$run"
[ -s "$run/report.html" ] || fail "no report.html"
says 'the same in all' fulmen diff "$run" "$run"
says 'cores|CPU|cpu' fulmen doctor
refuses 2 'did you mean replay' fulmen replya
refuses 2 '' fulmen generate --model "$run/export" --no-such-option
refuses 2 'unknown key' "$bin/fulmen-rollout" rollout --endpoint ipc:///nowhere --run-id x --name rollout-0 configs/quickstart.yaml rollot.workers=2
echo "sft, eval, generate, score, export, inspect, report, diff, doctor"
