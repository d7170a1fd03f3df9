#!/usr/bin/env bash
# One to five sentences joined: BLEU with attention and through one vector, trained for as many updates.
#
#     reproduce/long_sentences.sh [FOLDER]        settings and seed: reproduce/multi30k.toml, but for those below
#
# Needs multi30k in ELMAN_DATA. Stopped, it goes on where it was when started again.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/long_sentences}
python reproduce/long_sentences.py make "$folder"
for attention in additive none; do
    run=$folder/$attention
    options=(-c reproduce/multi30k.toml -s "data.valid_files=[\"$folder/valid.tsv\"]" -s "model.attention=$attention"
        -s train.updates=4000)
    if [ -d "$run" ]; then
        options=(--resume)
    fi
    time elman train translation "$folder/train.tsv" -o "$run" "${options[@]}"
done
python reproduce/long_sentences.py compare "$folder" "$folder/long-sentences.svg" \
    "additive attention=$folder/additive" "one vector=$folder/none"
