#!/usr/bin/env bash
# The ChatterBot corpus: at least 95 % of the questions that it answers in one way are answered in these words.
#
#     reproduce/chatterbot.sh [RUN]        settings and seed: reproduce/chatterbot.toml
#
# Needs the data set: set ELMAN_DATA to the folder that has it, or fetch it with `elman data get chatterbot_corpus_en`.
# Stopped, it goes on where it was when started again.
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/chatterbot}
file=$(elman data get chatterbot_corpus_en)/conversations.tsv
options=(-c reproduce/chatterbot.toml)
if [ -d "$run" ]; then
    options=(--resume)
fi
time elman train dialogue "$file" -o "$run" "${options[@]}"
python reproduce/taught.py "$run" "$file"
