#!/usr/bin/env bash
# The root wrapper `fulmen` against stand-ins for apt-get, cmake, ninja and ctest: wrapper_test.sh REPOSITORY SCRATCH
set -euo pipefail
repository=$1 scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch/root/.ci" "$scratch/tools" "$scratch/else where"
chmod -R a+rwX "$scratch"
cp "$repository/fulmen" "$scratch/root/fulmen"
printf 'alpha-dev\nbeta-dev\n' >"$scratch/root/.ci/packages.txt"
export FAKE=$scratch CI=true PATH=$scratch/tools:$PATH
unset FULMEN_PRESET
failures=0

tool() { cat >"$scratch/tools/$1"; chmod +x "$scratch/tools/$1"; }
tool dpkg-query <<'X'
#!/bin/bash
echo "dpkg-query" >>"$FAKE/calls"
if [[ ${!#} == alpha-dev || -f $FAKE/beta ]]; then printf installed; else exit 1; fi
X
tool apt-get <<'X'
#!/bin/bash
echo "apt-get $*" >>"$FAKE/calls"
[[ $* == *install* ]] || exit 0
if [[ -f $FAKE/apt-broken ]]; then echo "E: Unable to locate package beta-dev" >&2; exit 100; fi
echo "pmstatus:beta-dev:50.0:Unpacking"
touch "$FAKE/beta"
X
tool sudo <<'X'
#!/bin/bash
exit 1
X
tool cmake <<'X'
#!/bin/bash
echo "cmake $*" >>"$FAKE/calls"
if [[ -f $FAKE/cmake-broken ]]; then printf 'CMake Error at x:1\n  Could not find gamma\n'; exit 1; fi
mkdir -p build/cpu
touch build/cpu/build.ninja
echo "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" >build/cpu/CMakeCache.txt
X
tool ninja <<'X'
#!/bin/bash
echo "ninja $*" >>"$FAKE/calls"
if [[ -f $FAKE/ninja-broken ]]; then printf '[1/2] a -Werror\nFAILED: a.o\na.cc:3:1: error: no such thing\n'; exit 1; fi
mkdir -p "$2/bin"
if [[ -x $2/bin/fulmen ]]; then printf '[0/2] Re-checking globbed directories...\nninja: no work to do.\n'; exit; fi
printf '[1/2] a\n[2/2] b\n'
printf '#!/bin/bash\necho "front in $PWD: $# words, $*"\nexit 5\n' >"$2/bin/fulmen"
chmod +x "$2/bin/fulmen"
X
tool ctest <<'X'
#!/bin/bash
echo "ctest $*" >>"$FAKE/calls"
echo " 1/2 Test  #1: one ....   Passed    0.01 sec"
if [[ -f $FAKE/ctest-broken ]]; then echo " 2/2 Test  #2: two ....***Failed    0.01 sec"; exit 8; fi
X

# attempt CODE WORD...: runs the wrapper from a directory with a space; its words go to $said
attempt() {
  local want=$1 got=0
  shift
  : >"$scratch/calls"
  chmod a+rw "$scratch/calls"
  said=$(cd "$scratch/else where" && "${as_user[@]}" "$scratch/root/fulmen" "$@" 2>&1 </dev/null) || got=$?
  if ((got != want)); then complain "exit code $got, want $want"; fi
}
complain() { echo "FAILED at line ${BASH_LINENO[1]}: $1"; echo "${said//$'\n'/$'\n'  }"; failures=$((failures + 1)); }
says() { [[ $said == *"$1"* ]] || complain "not said: $1"; }
says_not() { [[ $said != *"$1"* ]] || complain "said: $1"; }
called() { grep -qF -- "$1" "$scratch/calls" || { complain "not called: $1"; cat "$scratch/calls"; }; }
called_not() { if grep -qF -- "$1" "$scratch/calls"; then complain "called: $1"; fi; }

as_user=()
if ((EUID == 0)); then as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups); fi

# Without root and without sudo: the very line to run, and nothing is tried.
attempt 1 train x.yaml
says "sudo apt-get update && sudo apt-get install -y --no-install-recommends beta-dev"
called_not apt-get
called_not cmake

# As root only (a user has no way to install, and the stand-in for sudo refuses).
if ((EUID == 0)); then
  as_user=()
  touch "$scratch/apt-broken"
  attempt 1 train
  says "E: Unable to locate package beta-dev"
  says "could not install beta-dev (log: "
  called_not cmake
  rm "$scratch/apt-broken"
else
  touch "$scratch/beta"
fi

touch "$scratch/cmake-broken"
attempt 1 train
says "Could not find gamma"
says "configuring failed (log: "
called_not ninja
rm "$scratch/cmake-broken"

# The first good run: installs, configures, builds the tools alone, then the front has our words, directory and exit code.
attempt 5 train "a b" c
says "front in $scratch/else where: 3 words, train a b c"
says "built tools in"
called "ninja -C $scratch/root/build/cpu"
called " tools"

# The second: no package question, no configuration, nothing said.
attempt 5 train
says "front in"
says_not "fulmen:"
called_not dpkg-query
called_not "cmake "

# A changed package list is looked at again.
touch -d '+2 seconds' "$scratch/root/.ci/packages.txt"
attempt 5 train
called dpkg-query

touch "$scratch/ninja-broken"
attempt 1 train
says "a.cc:3:1: error: no such thing"
says_not "-Werror"
says "the build failed (log: $scratch/root/build/cpu/logs/build.log)"
says_not "front in"
rm "$scratch/ninja-broken"

attempt 0 test -R one
says "tests: 1 passed, 0 failed"
called "ctest --preset cpu -j2 -LE gpu -R one"
called " all"
touch "$scratch/ctest-broken"
attempt 1 test
says "tests: 1 passed, 1 failed"

attempt 5 bench
called " tools fulmen-bench"

# By a link from elsewhere, and a checkout that was moved.
ln -s "$scratch/root/fulmen" "$scratch/else where/link"
said=$(cd "$scratch/else where" && ./link x 2>&1) || true
says "front in $scratch/else where: 1 words, x"
mv "$scratch/root" "$scratch/moved"
mkdir "$scratch/root"
cp "$scratch/moved/fulmen" "$scratch/root/"
mv "$scratch/moved/.ci" "$scratch/moved/build" "$scratch/root/"
sed -i 's/root$/moved/' "$scratch/root/build/cpu/CMakeCache.txt"
attempt 5 train
called "cmake --preset cpu --fresh"

exit $((failures > 0))
