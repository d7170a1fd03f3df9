"""N-gram models: estimation of ten million words, opening, and queries beside kenlm's Python module.

    python benchmarks/ngram.py --data ../shared/data [--words 10000000] [--order 3]

The text is the words of the data sets named in SOURCES, once each, and for the rest synthetic: words from a
Zipfian law, half of them among the few favourite followers of the word before. kenlm is compared where it can
be imported.
"""

import argparse
import gzip
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from timing import conditions, interleaved, table

from elman.search.ngram import NgramModel
from elman.search.ngram_arpa import read_arpa, write_arpa
from elman.search.ngram_binary import open_binary, save_binary

SOURCES = (
    "ptb/ptb.train.txt",
    "linux_c/linux.txt",
    "tinyshakespeare/input.txt",
    "multi30k/train.en.gz",
    "multi30k/train.de.gz",
    "multi30k/train.fr.gz",
    "multi30k/train.cs.gz",
    "flickr8k_1k/Flickr8k.token.txt.gz",
    "dailydialog/dialogues_train.txt.gz",
    "sentiment_mr/rt-polarity.pos",
    "sentiment_mr/rt-polarity.neg",
)
CHILD = """
import json, resource, sys, time
from elman.search.ngram_estimate import estimate
from elman.search.ngram_binary import save_binary
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.perf_counter()
model, report = estimate([sys.argv[1]], int(sys.argv[3]), memory=int(sys.argv[4]))
estimated = time.perf_counter() - begin
save_binary(model, sys.argv[2])
print(json.dumps({
    "imports": before / 2**20, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    "seconds": estimated, "saved": time.perf_counter() - begin - estimated, "words": report.words,
    "vocabulary": report.vocabulary, "runs": report.runs, "counts": model.counts, "bytes": model.size,
}))
"""


def real_lines(folder: Path) -> Iterator[str]:
    for name in SOURCES:
        content = (folder / name).read_bytes()
        text = gzip.decompress(content) if name.endswith(".gz") else content
        for line in text.decode("utf-8", "replace").replace("\0", " ").splitlines():
            yield " ".join(w for w in re.split(r"\s+", line) if w not in ("", "<s>", "</s>"))


def synthetic_lines(
    words: int, seed: int = 1, vocabulary: int = 200_000, chains: int = 20_000
) -> Iterator[str]:
    """`chains` sentences at a time, word by word; a tenth of the words end a sentence of 20 words or so."""
    numbers = np.random.default_rng(seed)
    shares = np.cumsum(1 / (np.arange(vocabulary) + 2.7))
    names = np.array([f"s{i}" for i in range(vocabulary)])
    while words > 0:
        length = int(numbers.integers(8, 33))
        rows = np.empty((chains, length), dtype=np.int64)
        word = np.zeros(chains, dtype=np.int64)
        for place in range(length):
            free = np.searchsorted(shares, numbers.random(chains) * shares[-1])
            favourite = (word * 7919 + 104729 * numbers.geometric(0.35, chains)) % 20_011
            word = np.where(numbers.random(chains) < 0.5, favourite, free)
            rows[:, place] = word
        for row in names[rows][: -(-words // length)]:
            yield " ".join(row)
        words -= chains * length


def write_text(path: Path, data: Path, words: int) -> int:
    """The number of words of the data sets in it."""
    real = 0
    with path.open("w", encoding="utf-8") as file:
        for line in real_lines(data):
            real += line.count(" ") + bool(line)
            if real > words:
                break
            file.write(line + "\n")
        file.writelines(line + "\n" for line in synthetic_lines(words - real))
    return min(real, words)


def estimation(text: Path, model: Path, order: int) -> None:
    rows = []
    for memory in (1 << 30, 1 << 27):
        command = [sys.executable, "-c", CHILD, str(text), str(model), str(order), str(memory)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(
            (
                f"{memory >> 20} MiB", f"{found['words']:,}", f"{found['vocabulary']:,}", found["runs"],
                " ".join(f"{count:,}" for count in found["counts"]), f"{found['seconds']:.1f}",
                f"{found['words'] / found['seconds'] / 1e6:.2f}", f"{found['peak']:.2f}",
                f"{found['imports']:.2f}", f"{found['bytes'] / 2**20:.0f}",
            )
        )  # fmt: skip
    columns = ("table of counts", "words", "vocabulary", "runs on disk", "n-grams", "seconds", "Mwords/s")
    print(table((*columns, "peak GiB", "of it imports", "binary MiB"), rows), end="\n\n")


def timed(work: object) -> float:
    begin = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - begin


def opening(path: Path, arpa: Path) -> None:
    rows = [
        ("binary, mapped, checksum compared", f"{timed(lambda: open_binary(path)) * 1e3:,.1f}"),
        ("binary, mapped", f"{timed(lambda: open_binary(path, verify=False)) * 1e3:,.2f}"),
        (f"ARPA, {arpa.stat().st_size / 2**20:.0f} MiB", f"{timed(lambda: read_arpa(arpa)) * 1e3:,.0f}"),
    ]
    if importlib.util.find_spec("kenlm"):
        rival = importlib.import_module("kenlm").Model
        rows.append(("kenlm: ARPA", f"{timed(lambda: rival(str(arpa))) * 1e3:,.0f}"))
    print(table(("opening", "milliseconds"), rows), end="\n\n")


def queries(model: NgramModel, arpa: Path, lines: list[str]) -> None:
    if not importlib.util.find_spec("kenlm"):
        print("kenlm cannot be imported: no comparison")
        return
    kenlm = importlib.import_module("kenlm")
    rival = kenlm.Model(str(arpa))
    text = "".join(line + "\n" for line in lines).encode()
    words = sum(len(line.split()) + 1 for line in lines)
    ours = [row[0] / np.log(10) for row in model.native.score_lines(text)]
    theirs = [rival.score(line) for line in lines]
    print(
        f"largest difference of a sentence: {max(abs(a - b) for a, b in zip(ours, theirs, strict=True)):.1e}"
    )

    sentences = [[model.vocabulary[word] for word in line.split()] for line in lines]
    spelled = [line.split() for line in lines]

    def step_by_step() -> None:
        for ids in sentences:
            state = model.start()
            for word in ids:
                _, state = model.score(state, word)

    def rival_step_by_step() -> None:
        first, second = kenlm.State(), kenlm.State()
        for row in spelled:
            rival.BeginSentenceWrite(first)
            for word in row:
                rival.BaseScore(first, word, second)
                first, second = second, first

    rows = []
    for name, work, other in (
        (
            "sentences, one call each",
            lambda: [model.sentence(s) for s in lines],
            lambda: [rival.score(s) for s in lines],
        ),
        (
            "all lines in one call",
            lambda: model.native.score_lines(text),
            lambda: [rival.score(s) for s in lines],
        ),
        ("word by word from Python", step_by_step, rival_step_by_step),
    ):
        times = interleaved({"elman": work, "kenlm": other}, rounds=5)
        elman, peer = times["elman"], times["kenlm"]
        rows.append(
            (name, f"{words / elman.median / 1e6:.2f}", f"{words / peer.median / 1e6:.2f}", peer.over(elman))
        )
    print(table(("queries", "elman Mwords/s", "kenlm Mwords/s", "kenlm's time / elman's"), rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--words", type=int, default=10_000_000)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for text and models, kept; a temporary one if none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        text, path, arpa = folder / "text.txt", folder / "model.ngram", folder / "model.arpa"
        if not text.exists():
            real = write_text(text, options.data, options.words)
            size = text.stat().st_size >> 20
            print(f"text: {options.words:,} words, {real:,} of them from data sets; {size} MiB\n")
        print(conditions(), end="\n\n")
        estimation(text, path, options.order)
        model = open_binary(path).model
        write_arpa(model, arpa)
        save_binary(model, path)
        opening(path, arpa)
        lines = [
            line for line in (options.data / "ptb/ptb.test.txt").read_text().splitlines() if line.strip()
        ]
        queries(model, arpa, [" ".join(line.split()) for line in lines])


if __name__ == "__main__":
    main()
