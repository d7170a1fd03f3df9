#!/usr/bin/env bash
# Tiny Shakespeare: at most 1.445 nats a character in windows of 256, after 45 minutes on two cores.
#
#     reproduce/tinyshakespeare.sh [RUN]        settings and seed: reproduce/tinyshakespeare.toml
#
# Needs the data set: set ELMAN_DATA to the folder that has it, or fetch it with `elman data get tinyshakespeare`.
# Stopped, it goes on where it was when started again.
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/tinyshakespeare}
text=$(elman data get tinyshakespeare)/input.txt
options=(-c reproduce/tinyshakespeare.toml)
if [ -d "$run" ]; then
    options=(--resume)
fi
time elman train language-model "$text" -o "$run" "${options[@]}"
elman evaluate "$run"
elman plot "$run"
elman generate "$run" --prompt 'ROMEO:' --length 500 --temperature 0.8 --seed 1
