#!/usr/bin/env bash
# Trains a character language model on the source of Python's own standard library, shows its curves and lets it
# write Python. Everything it reads comes with Python; nothing is downloaded. Called by `make demo`.
#
#     examples/demo.sh [RUN]        RUN is the run folder, runs/demo if not given
#
# Stopped with Ctrl-C, it goes on where it was when it is started again; a finished run is shown again.
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/demo}

# Modules that are one file in each Python from 3.11 on, about 3 MB together.
modules="_collections_abc _pydecimal _pyio argparse ast base64 bdb calendar cmd codecs configparser contextlib copy
csv dataclasses difflib dis doctest enum fractions ftplib functools gettext gzip heapq imaplib inspect ipaddress
mailbox mimetypes optparse os pdb pickletools platform plistlib posixpath pprint pstats pydoc random sched selectors
shutil smtplib socket socketserver ssl statistics string subprocess tarfile tempfile textwrap threading timeit
tokenize trace traceback turtle typing uuid warnings wave weakref zipapp"

library=$(python -c 'import sysconfig; print(sysconfig.get_paths()["stdlib"])')
files=()
for module in $modules; do
    files+=("$library/$module.py")
done

show() {
    printf '\n$ %s\n' "$1"
}

options=(-o "$run")
if [ -d "$run" ]; then
    options+=(--resume)
else
    options+=(-s model.hidden=256 -s train.updates=600 -s train.evaluate_every=300 -s train.learning_rate=5e-3)
fi
show "elman train language-model $library/*.py ${options[*]}   (${#files[@]} files)"
elman train language-model "${files[@]}" "${options[@]}"

show "elman plot $run"
elman plot "$run"

show "elman generate $run --prompt 'def ' --length 600 --temperature 0.7 --seed 1"
elman generate "$run" --prompt 'def ' --length 600 --temperature 0.7 --seed 1
