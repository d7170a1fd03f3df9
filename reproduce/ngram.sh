#!/usr/bin/env bash
# docs/ngram.md: Kneser-Ney models of the Penn Treebank (words) and of tinyshakespeare (characters). Seconds.
set -euo pipefail
: "${ELMAN_DATA:?set ELMAN_DATA to the folder of data sets}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for order in 3 5; do
    elman ngram train "$ELMAN_DATA/ptb/ptb.train.txt" -o "$work/ptb.ngram" --order $order
    elman ngram score "$work/ptb.ngram" "$ELMAN_DATA/ptb/ptb.test.txt"
done

# The first 90 % of the characters for training, as for the neural model.
head -c 1003855 "$ELMAN_DATA/tinyshakespeare/input.txt" > "$work/train.txt"
tail -c +1003856 "$ELMAN_DATA/tinyshakespeare/input.txt" > "$work/valid.txt"
for order in 5 7; do
    elman ngram train "$work/train.txt" -o "$work/shakespeare.ngram" --unit characters --order $order
    elman ngram score "$work/shakespeare.ngram" "$work/valid.txt"
done
