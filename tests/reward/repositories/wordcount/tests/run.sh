# tests/run.sh NAME: builds, then checks one input.
set -e
cc -O1 -o /tmp/wordcount wordcount.c
case $1 in
  plain) got=$(printf 'one two three' | /tmp/wordcount); want=3 ;;
  tabs) got=$(printf 'one\ttwo\n three\n' | /tmp/wordcount); want=3 ;;
  empty) got=$(printf '' | /tmp/wordcount); want=0 ;;
  *) exit 2 ;;
esac
[ "$got" = "$want" ]
