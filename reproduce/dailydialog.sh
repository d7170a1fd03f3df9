#!/usr/bin/env bash
# DailyDialog: perplexity, distinct-1 and -2 and the share of generic answers, before and after reranking.
#
#     reproduce/dailydialog.sh [RUNS]        settings and seed: reproduce/dailydialog.toml
#
# Three runs, RUNS/forward, RUNS/reverse and RUNS/language, one after the other; then reproduce/answers.py.
# Needs the data set: set ELMAN_DATA to the folder that has it, or fetch it with `elman data get dailydialog`.
# Stopped, it goes on where it was when started again.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs/dailydialog}
data=$(elman data get dailydialog)
train_run() {
    local options=(-c reproduce/dailydialog.toml -s "data.valid_files=[\"$data/dialogues_validation.txt.gz\"]" "${@:2}")
    if [ -d "$runs/$1" ]; then
        options=(--resume)
    fi
    time elman train dialogue "$data/dialogues_train.txt.gz" -o "$runs/$1" "${options[@]}"
}
train_run forward -s train.updates=4000
train_run reverse -s data.reverse=true
train_run language -s data.history=0
elman evaluate "$runs/forward" "$data/dialogues_test.txt.gz"
python reproduce/answers.py "$runs" "$data/dialogues_test.txt.gz"
