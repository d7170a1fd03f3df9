"""Beam search over CTC outputs: frames a second beside the fastest packages.

    python benchmarks/ctc_beam.py [--rounds 7] [--lexicon]

Inputs are made here: peaky posteriors over 29 classes (blank, space, a to z, apostrophe), T = 500, in which
a tenth of the letters are all but wrong. Without a model: fast-ctc-decode, flashlight-text and pyctcdecode,
with no pruning of symbols, one utterance at a time on one thread, times included on our side. --lexicon:
12,000 words and a trigram estimated from the documentation in Python's standard library, ours and
flashlight-text's with the same ARPA file, lexicon, alpha 0.5 and beta 1, and the word error rate of both
against what was to be said. A rival that is not installed is left out. All take turns in every round; a ratio
is that of times within a round.
"""

import argparse
import contextlib
import logging
import math
import random
import re
import sysconfig
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import conditions, interleaved, table

from elman.data.alphabet import Alphabet
from elman.metrics.error_rate import error_rate
from elman.search.ctc_beam import CTCBeam
from elman.search.fusion import NgramFusion
from elman.search.lexicon import Lexicon

LETTERS = " abcdefghijklmnopqrstuvwxyz'"
ALPHABET = Alphabet("_" + LETTERS)
TIME = 500
Rivals = dict[str, Callable[[], object]]


def corpus() -> list[list[str]]:
    """Sentences of 4 to 30 words from comments and docstrings of the standard library, in a fixed order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    texts: list[str] = []
    for path in sorted([*root.glob("*.py"), *root.glob("*/*.py")])[:600]:
        source = path.read_text(encoding="utf-8", errors="ignore")
        texts += re.findall(r'"""(.*?)"""', source, re.DOTALL)
        texts += re.findall(r"#(.*)", source)
    sentences = []
    for text in texts:
        for sentence in re.split(r"[.\n]\s*\n|\. ", text):
            words = [word for word in re.findall(r"[a-z']+", sentence.lower()) if word.strip("'")]
            if 4 <= len(words) <= 30 and all(len(word) < 12 for word in words):
                sentences.append(words)
    random.Random(0).shuffle(sentences)
    return sentences


def utterance(text: str, seed: int) -> tuple[np.ndarray, str]:
    """Log probabilities (TIME, 29) float32 of as much of a text as has room, and that part."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((TIME, 29)).astype(np.float32)
    logits[:, 0] += 6
    time, said = 0, ""
    for at, letter in enumerate(text):
        if text[at - 1] == " " and time + 5 * (len(text[at:].split(" ", maxsplit=1)[0]) + 1) >= TIME:
            break  # the next word might not have room
        time += int(rng.integers(1, 4))
        size = int(rng.integers(1, 3))
        sure = rng.choice([8, 5, 3], p=[0.7, 0.2, 0.1])
        logits[time : time + size, 1 + LETTERS.index(letter)] += sure
        logits[time : time + size, 0] -= 6
        if sure < 8:
            logits[time : time + size, int(rng.integers(1, 29))] += sure * 0.9
        time += size
        said += letter
    return torch.from_numpy(logits).log_softmax(1).numpy(), said


def write_trigram(sentences: list[list[str]], words: set[str], path: Path) -> None:
    """An ARPA trigram by absolute discounting (0.5) with back-off; trigrams seen once are left out."""
    counts: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(4)]
    for sentence in sentences:
        line = ["<s>", *(word if word in words else "<unk>" for word in sentence), "</s>"]
        for order in (1, 2, 3):
            counts[order].update(tuple(line[i : i + order]) for i in range(len(line) - order + 1))
    counts[3] = Counter({gram: count for gram, count in counts[3].items() if count > 1})
    total = sum(count for (word,), count in counts[1].items() if word != "<s>")
    spread = 0.5 * len(counts[1]) / total / (len(words) + 2)
    p: list[dict[tuple[str, ...], float]] = [{} for _ in range(4)]
    back_off: list[dict[tuple[str, ...], float]] = [{} for _ in range(4)]
    for word in [*sorted(words), "</s>", "<unk>"]:
        p[1][word,] = max(counts[1][word,] - 0.5, 0) / total + spread
    p[1]["<s>",] = 1e-99

    def lower(gram: tuple[str, ...]) -> float:
        if gram in p[len(gram)]:
            return p[len(gram)][gram]
        return back_off[len(gram) - 1].get(gram[:-1], 1.0) * lower(gram[1:])

    for order in (2, 3):
        followers: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
        for gram in counts[order]:
            followers[gram[:-1]].append(gram)
        for context, grams in followers.items():
            for gram in grams:
                p[order][gram] = (counts[order][gram] - 0.5) / counts[order - 1][context]
            kept = sum(p[order][gram] for gram in grams)
            below = sum(lower(gram[1:]) for gram in grams)
            back_off[order - 1][context] = max(1e-9, 1 - kept) / max(1e-9, 1 - below)
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n" + "".join(f"ngram {n}={len(p[n])}\n" for n in (1, 2, 3)))
        for order in (1, 2, 3):
            file.write(f"\n\\{order}-grams:\n")
            for gram, value in p[order].items():
                line = f"{-99 if gram == ('<s>',) else math.log10(value):.6f}\t{' '.join(gram)}"
                weight = f"\t{math.log10(back_off[order].get(gram, 1.0)):.6f}" if order < 3 else ""
                file.write(line + weight + "\n")
        file.write("\n\\end\\\n")


def in_turn(call: Callable[[np.ndarray], object], inputs: list[np.ndarray]) -> Callable[[], object]:
    """A function that decodes the next of the inputs at each call."""
    state = {"at": -1}

    def run() -> object:
        state["at"] = (state["at"] + 1) % len(inputs)
        return call(inputs[state["at"]])

    return run


def ours(decoder: CTCBeam) -> Callable[[np.ndarray], str]:
    return lambda log_probs: decoder.decode(torch.from_numpy(log_probs)[:, None])[0][0].text


def without_model(beam: int) -> dict[str, Callable[[np.ndarray], object]]:
    found: dict[str, Callable[[np.ndarray], object]] = {
        "elman": ours(CTCBeam(ALPHABET, beam=beam, threads=1))
    }
    try:
        import fast_ctc_decode  # noqa: PLC0415

        found["fast-ctc-decode"] = lambda log_probs: fast_ctc_decode.beam_search(
            np.exp(log_probs), "_" + LETTERS, beam_size=beam, beam_cut_threshold=0.0
        )
    except ImportError:
        pass
    try:
        import flashlight.lib.text.decoder as flashlight  # noqa: PLC0415

        options = flashlight.LexiconFreeDecoderOptions(
            beam, 29, 1e9, 0.0, 0.0, True, flashlight.CriterionType.CTC
        )
        free = flashlight.LexiconFreeDecoder(options, flashlight.ZeroLM(), -1, 0, [])
        found["flashlight-text"] = lambda log_probs: free.decode(log_probs.ctypes.data, TIME, 29)[0].score
    except ImportError:
        pass
    try:
        import pyctcdecode  # noqa: PLC0415

        logging.disable(logging.CRITICAL)
        python = pyctcdecode.build_ctcdecoder(["", *LETTERS])
        found["pyctcdecode"] = lambda log_probs: python.decode(log_probs, beam_width=beam)
    except ImportError:
        pass
    return found


def with_lexicon(beam: int, words: list[str], arpa: Path) -> dict[str, Callable[[np.ndarray], str]]:
    from elman.search.ngram_files import open_ngram  # noqa: PLC0415

    lexicon = Lexicon.of(words, ALPHABET)
    fusion = NgramFusion(open_ngram(arpa), ALPHABET, lexicon, "words")
    decoder = CTCBeam(ALPHABET, beam=beam, lexicon=lexicon, model=fusion, alpha=0.5, beta=1.0, threads=1)
    found: dict[str, Callable[[np.ndarray], str]] = {"elman": ours(decoder)}
    with contextlib.suppress(ImportError):
        found["flashlight-text"] = _flashlight(beam, words, arpa)
    return found


def _flashlight(beam: int, words: list[str], arpa: Path) -> Callable[[np.ndarray], str]:
    import flashlight.lib.text.decoder as flashlight  # noqa: PLC0415
    from flashlight.lib.text.decoder import kenlm  # noqa: PLC0415
    from flashlight.lib.text.dictionary import create_word_dict  # noqa: PLC0415

    spellings = {word: [[*word, " "]] for word in words} | {"<unk>": [[" "]]}
    known = create_word_dict(spellings)
    model = kenlm.KenLM(str(arpa), known)
    trie = flashlight.Trie(29, 1)
    start = model.start(False)
    for word in words:
        index = known.get_index(word)
        _, score = model.score(start, index)
        trie.insert([*ALPHABET.encode(word), 1], index, score)
    trie.smear(flashlight.SmearingMode.MAX)
    # Its language model speaks in base 10, ours in base e.
    options = flashlight.LexiconDecoderOptions(
        beam, 29, 25.0, 0.5 * math.log(10), 1.0, -math.inf, 0.0, True, flashlight.CriterionType.CTC
    )
    unknown = known.get_index("<unk>")
    decoder = flashlight.LexiconDecoder(options, trie, model, 1, 0, unknown, [], False)

    def decode(log_probs: np.ndarray) -> str:
        found = decoder.decode(log_probs.ctypes.data, TIME, 29)
        return " ".join(known.get_entry(word) for word in found[0].words if word >= 0) if found else ""

    return decode


def rows(
    calls: dict[str, Callable[[np.ndarray], Any]], inputs: list[np.ndarray], rounds: int
) -> list[list[object]]:
    times = interleaved({name: in_turn(call, inputs) for name, call in calls.items()}, rounds)
    return [
        [name, f"{TIME / taken.median / 1000:,.1f}", "" if name == "elman" else taken.over(times["elman"])]
        for name, taken in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--beams", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--lexicon", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sentences = corpus()
    texts = [" ".join(" ".join(sentence) for sentence in sentences[at : at + 10]) for at in range(6)]
    made = [utterance(text, seed) for seed, text in enumerate(texts)]
    inputs = [log_probs for log_probs, _ in made]
    lines: list[list[object]] = []
    print(f"{conditions()}; T {TIME}, C 29\n")
    if not arguments.lexicon:
        for beam in arguments.beams:
            lines += [[beam, *row] for row in rows(without_model(beam), inputs, arguments.rounds)]
        print(table(["beam", "decoder", "thousand frames/s", "time against elman's"], lines))
        return
    words = sorted({word for sentence in sentences for word in sentence})
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "trigram.arpa"
        write_trigram(sentences[200:], set(words), arpa)
        for beam in arguments.beams:
            calls = with_lexicon(beam, words, arpa)
            wanted = [said for _, said in made]
            rates = {
                name: error_rate(wanted, [call(one) for one in inputs]).rate for name, call in calls.items()
            }
            for row in rows(calls, inputs, arguments.rounds):
                lines.append([beam, *row, f"{rates[str(row[0])]:.3f}"])
    print(f"{len(words):,} words\n")
    print(table(["beam", "decoder", "thousand frames/s", "time against elman's", "word error rate"], lines))


if __name__ == "__main__":
    main()
