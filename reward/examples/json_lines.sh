#!/usr/bin/env bash
# Any program that reads a record a line and writes a verdict a line: reward.functions: [command:reward/examples/json_lines.sh]
# Here: a long response is a good response. stdbuf or a flush is needed where a program's output is buffered.
while IFS= read -r record; do
  id=$(sed -E 's/.*"id":([0-9]+).*/\1/' <<<"$record")
  response=$(sed -E 's/.*"response":"([^"]*)".*/\1/' <<<"$record")
  echo "{\"id\":$id,\"score\":${#response},\"detail\":\"counted\"}"
done
