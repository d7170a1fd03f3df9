#!/usr/bin/env bash
# The picture of docs/translation.md: random letters are reversed, and attention runs backwards. Half a minute.
#
#     reproduce/letters.sh [RUN]
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/letters}
mkdir -p "$run.data"
python - "$run.data" <<'PYTHON'
import random, string, sys
draw = random.Random(1)
for name, rows in (("train", 12000), ("valid", 300)):
    words = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(3, 14))) for _ in range(rows)]
    with open(f"{sys.argv[1]}/{name}.tsv", "w") as file:
        file.writelines(f"{word}\t{word[::-1]}\n" for word in words)
PYTHON
elman train translation "$run.data/train.tsv" -o "$run" -s "data.valid_files=[\"$run.data/valid.tsv\"]" \
    -s data.unit=characters -s data.shared=true -s model.shared=true -s model.hidden=128 -s model.embedding=64 \
    -s model.dropout=0.1 -s model.dropout_embedding=0 -s model.dropout_output=0 -s train.label_smoothing=0 \
    -s train.tokens=1500 -s train.updates=1200 -s train.learning_rate=0.003 -s train.evaluate_every=600 \
    -s train.average=0.998 -s train.precision=float32
elman plot "$run" --text recurrence
