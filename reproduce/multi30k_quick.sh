#!/usr/bin/env bash
# Ten thousand pairs of Multi30k in about five minutes of one core: the whole path, and what it reaches so soon.
#
#     reproduce/multi30k_quick.sh [RUN [SOURCE TARGET]]        de en by default; settings: --preset quick
#
# Needs the data set: set ELMAN_DATA to the folder that has it. Stopped, it goes on where it was when started again.
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/multi30k_quick}
source=${2:-de} target=${3:-en}
data=$(elman data get multi30k)
mkdir -p "$run.data"
for language in "$source" "$target"; do
    # head leaves before gzip is done, which is no failure here
    (gzip -dc "$data/train.$language.gz" 2> /dev/null || true) | head -n 10000 > "$run.data/train.$language"
done
options=(--preset quick -s train.precision=bfloat16 -s "data.valid_files=[\"$data/val.$source.gz\", \"$data/val.$target.gz\"]")
if [ -d "$run" ]; then
    options=(--resume)
fi
time elman train translation "$run.data/train.$source" "$run.data/train.$target" -o "$run" "${options[@]}"
elman evaluate "$run" "$data/test_2016_flickr.$source.gz" "$data/test_2016_flickr.$target.gz"
elman plot "$run"
elman predict "$run" "$(gzip -dc "$data/test_2016_flickr.$source.gz" 2> /dev/null | sed -n 1p)"
