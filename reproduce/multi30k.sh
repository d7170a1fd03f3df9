#!/usr/bin/env bash
# Multi30k, test_2016_flickr: at least 38 BLEU from German to English, 36 from English to German, each after at most
# 75 minutes of training.
#
#     reproduce/multi30k.sh de en [RUN [KEY=VALUE ...]]        settings and seed: reproduce/multi30k.toml
#
# Needs the data set: set ELMAN_DATA to the folder that has it. Stopped, it goes on where it was when started again.
set -euo pipefail
cd "$(dirname "$0")/.."
source=$1 target=$2
run=${3:-runs/multi30k_${source}_${target}}
data=$(elman data get multi30k)
options=(-c reproduce/multi30k.toml -s "data.valid_files=[\"$data/val.$source.gz\", \"$data/val.$target.gz\"]")
for setting in "${@:4}"; do
    options+=(-s "$setting")
done
if [ -d "$run" ]; then
    options=(--resume)
fi
time elman train translation "$data/train.$source.gz" "$data/train.$target.gz" -o "$run" "${options[@]}"
elman evaluate "$run" "$data/test_2016_flickr.$source.gz" "$data/test_2016_flickr.$target.gz"
elman plot "$run"
