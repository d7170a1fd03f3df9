"""BLEU and chrF are what sacrebleu's own command prints, and what their formulas say on a small case."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from elman.errors import ConfigError, ShapeError
from elman.metrics.translation import bleu, bleu_by_length, bleu_interval, chrf, sacrebleu

pytest.importorskip("sacrebleu", reason="needs elman[translation]")

REFERENCES = [
    "A man rides a big, brown horse.",
    "Two dogs are running in the snow!",
    "The girl's hat is red.",
]
HYPOTHESES = ["a man is riding a brown horse.", "Two dogs running in snow!", "The girl's hat is red."]


@pytest.mark.parametrize("lowercase", [False, True])
def test_the_command_prints_the_same(tmp_path: Path, lowercase: bool) -> None:
    (tmp_path / "reference").write_text("".join(f"{line}\n" for line in REFERENCES), "utf-8")
    (tmp_path / "hypothesis").write_text("".join(f"{line}\n" for line in HYPOTHESES), "utf-8")
    options = ["-lc", "--chrf-lowercase"] if lowercase else []
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "sacrebleu", tmp_path / "reference",
         "-i", tmp_path / "hypothesis", "-m", "bleu", "chrf", "-w", "6", "-f", "json", *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for told, metric in zip(json.loads(printed.stdout), (bleu, chrf), strict=True):
        score = metric(REFERENCES, HYPOTHESES, lowercase)
        assert score.value == pytest.approx(told["score"], abs=1e-6)
        assert score.signature.split("|")[0] == "nrefs:1"
        assert ("case:lc" in score.signature) is lowercase


def test_bleu_by_hand() -> None:
    """Precisions 4/5, 2/4, 1/3 and 0/2 (smoothed once: 1/4); as many words as in the reference."""
    wanted = 100 * (4 / 5 * 2 / 4 * 1 / 3 * 1 / 4) ** 0.25
    assert bleu(["a b c x e"], ["a b c d e"]).value == pytest.approx(wanted)
    short = bleu(["a b c d e f"], ["a b c d"])
    assert short.value == pytest.approx(100 * math.exp(1 - 6 / 4))
    assert short.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_other_counts_are_refused(references: list[str], hypotheses: list[str]) -> None:
    with pytest.raises(ShapeError, match="as many references as hypotheses"):
        bleu(references, hypotheses)


def test_without_the_library_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ConfigError, match=r'pip install "elman\[translation\]"'):
        chrf(["a"], ["a"])


def test_bleu_by_length_is_the_bleu_of_each_bin() -> None:
    lengths = [8, 3, 8]
    bins = bleu_by_length(REFERENCES, HYPOTHESES, lengths, [1, 4, 9])
    for point, rows in zip(bins, ([1], [0, 2]), strict=True):
        own = [[texts[row] for row in rows] for texts in (REFERENCES, HYPOTHESES)]
        wanted = sacrebleu().metrics.BLEU(effective_order=True).corpus_score(own[1], [own[0]]).score
        assert point.score == pytest.approx(wanted, abs=1e-9)
        assert point.low <= point.score <= point.high
    whole = bleu_by_length(REFERENCES, HYPOTHESES, lengths, [1, 9])[0]
    assert bleu_interval(REFERENCES, HYPOTHESES) == pytest.approx((whole.low, whole.high))
    assert whole.score == pytest.approx(bleu(REFERENCES, HYPOTHESES).value, abs=1e-9)
