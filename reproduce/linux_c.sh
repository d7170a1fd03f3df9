#!/usr/bin/env bash
# Linux C: bits a character, and a generated file of 200 lines whose functions' braces are counted.
#
#     reproduce/linux_c.sh [RUN]        settings and seed: reproduce/linux_c.toml
#
# Needs the data set linux_c in the folder that ELMAN_DATA names. Stopped, it goes on where it was when started again.
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/linux_c}
text=$(elman data get linux_c)/linux.txt
options=(-c reproduce/linux_c.toml)
if [ -d "$run" ]; then
    options=(--resume)
fi
time elman train language-model "$text" -o "$run" "${options[@]}"
elman evaluate "$run"
elman generate "$run" --prompt 'static int ' --length 12000 --temperature 0.8 --seed 1 | head -200 > "$run/generated.c"
python reproduce/braces.py "$run/generated.c"
