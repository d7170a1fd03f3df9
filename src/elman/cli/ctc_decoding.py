"""elman ctc decode, tune: what a CTC network said, on cached logits."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from elman.cli.common import AsJson, errors, say, say_json, say_table
from elman.data.alphabet import Alphabet
from elman.data.logits import read_logits
from elman.errors import ConfigError
from elman.metrics.error_rate import error_rate
from elman.predict import load
from elman.search.ctc_beam import CTCBeam
from elman.search.ctc_greedy import ctc_greedy
from elman.search.fusion import Fusion, NeuralFusion, NgramFusion, Units
from elman.search.lexicon import Lexicon
from elman.search.ngram_files import open_ngram
from elman.search.transcript import Transcript
from elman.search.tuning import Trial, tune
from elman.tasks.language_predictor import LanguagePredictor

LogitsFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="Cached logits, .safetensors or .npz.", show_default=False)
]
BeamWidth = Annotated[int, typer.Option("--beam", help="Hypotheses kept.", min=1)]
LexiconFile = Annotated[
    Path | None,
    typer.Option("--lexicon", metavar="FILE", help="Words that may be written, one spelling a line."),
]
ModelPlace = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE|RUN", help="An n-gram model, or the run of a language model."),
]
ModelUnits = Annotated[
    str | None,
    typer.Option("--units", help="words or symbols: what the model is of; by default words with a lexicon."),
]
ModelStart = Annotated[
    str, typer.Option("--start", help="Text that a run's model reads first (\\n: a line's end).")
]
ModelEnd = Annotated[
    str | None, typer.Option("--end", help="The symbol by which a run's model ends a text (\\n).")
]
Alpha = Annotated[float, typer.Option("--alpha", help="Weight of the language model.", min=0)]
Beta = Annotated[float, typer.Option("--beta", help="Added for each word, in nats.")]
Hotwords = Annotated[
    list[str] | None,
    typer.Option("--hotword", metavar="PHRASE=BONUS", help="A bonus in nats; may be repeated."),
]


def decode_command(
    file: LogitsFile,
    greedy: Annotated[bool, typer.Option("--greedy", help="The best path, without a search.")] = False,
    beam: BeamWidth = 100,
    lexicon: LexiconFile = None,
    model: ModelPlace = None,
    units: ModelUnits = None,
    start: ModelStart = "",
    end: ModelEnd = None,
    alpha: Alpha = 0.5,
    beta: Beta = 0.0,
    hotword: Hotwords = None,
    best: Annotated[int, typer.Option(help="Transcripts of each utterance.", min=1)] = 1,
    json: AsJson = False,
) -> None:
    """Write what was said: name, score and text of each utterance, tabs between.

    With --json also symbols, their frames and confidences.
    """
    cached = read_logits(file)
    if greedy:
        found = [
            [one]
            for batch in cached.batches()
            for one in ctc_greedy(batch.data, batch.lengths, alphabet=cached.alphabet)
        ]
    else:
        decoder = _decoders(cached.alphabet, beam, lexicon, model, units, start, end, hotword)(alpha, beta)
        found = [
            each
            for batch in cached.batches()
            for each in decoder.decode(batch.data, batch.lengths, best=best)
        ]
    names = cached.names or tuple(str(number) for number in range(1, len(found) + 1))
    if json:
        say_json(
            [
                {"name": name, "transcripts": [_shown(one, cached.alphabet) for one in each]}
                for name, each in zip(names, found, strict=True)
            ]
        )
        return
    for name, each in zip(names, found, strict=True):
        for one in each:
            say(f"{name}\t{one.score:.4f}\t{one.text}")


def tune_command(
    file: LogitsFile,
    beam: BeamWidth = 100,
    lexicon: LexiconFile = None,
    model: ModelPlace = None,
    units: ModelUnits = None,
    start: ModelStart = "",
    end: ModelEnd = None,
    hotword: Hotwords = None,
    alphas: Annotated[tuple[float, float], typer.Option(help="Least and greatest alpha.")] = (0.0, 2.0),
    betas: Annotated[tuple[float, float], typer.Option(help="Least and greatest beta.")] = (-2.0, 4.0),
    grid: Annotated[int, typer.Option(help="Values of each in the first round.", min=2)] = 5,
    rounds: Annotated[int, typer.Option(help="Each with half the steps of the one before.", min=1)] = 4,
    json: AsJson = False,
) -> None:
    """Find the alpha and beta of the least word error rate; FILE holds references."""
    cached = read_logits(file)
    decoder = _decoders(cached.alphabet, beam, lexicon, model, units, start, end, hotword)

    def report(trial: Trial) -> None:
        errors.print(f"alpha {trial.alpha:g}  beta {trial.beta:g}  word error rate {trial.rate:.4f}")

    ranges = {"alphas": alphas, "betas": betas}
    trials = tune(decoder, cached, rate=_rate, **ranges, grid=grid, rounds=rounds, report=report)
    if json:
        say_json([asdict(trial) for trial in trials])
    else:
        best = trials[0]
        say_table(["alpha", "beta", "word error rate"], [(best.alpha, best.beta, best.rate)])


def _rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    return error_rate(references, hypotheses).rate


def _decoders(
    alphabet: Alphabet,
    beam: int,
    lexicon: Path | None,
    model: Path | None,
    units: str | None,
    start: str,
    end: str | None,
    hotwords: list[str] | None,
) -> Callable[[float, float], CTCBeam]:
    """Decoders that differ in alpha and beta only; files are read once."""
    words = None if lexicon is None else Lexicon.read(lexicon, alphabet)
    fusion = None if model is None else _fusion(alphabet, words, model, units, start, end)
    bonuses = dict(_bonus(text) for text in hotwords or [])
    return lambda alpha, beta: CTCBeam(
        alphabet, beam=beam, lexicon=words, model=fusion, alpha=alpha, beta=beta, hotwords=bonuses
    )


def _fusion(
    alphabet: Alphabet, lexicon: Lexicon | None, place: Path, units: str | None, start: str, end: str | None
) -> Fusion:
    chosen: Units = "symbols" if units == "symbols" or (units is None and lexicon is None) else "words"
    if units not in (None, "words", "symbols"):
        raise ConfigError(f"--units {units}: expected words or symbols")
    if not place.is_dir():
        unit = "words" if chosen == "words" else "characters"
        return NgramFusion(open_ngram(place, unit), alphabet, lexicon, chosen)
    run = load(place)
    if not isinstance(run, LanguagePredictor):
        raise ConfigError(f"{place}: this run is not of a language model; give --model one that is")
    start, end = start.replace("\\n", "\n"), None if end is None else end.replace("\\n", "\n")
    return NeuralFusion(run.model, run.codec, alphabet, lexicon, chosen, start=start, end=end)


def _bonus(text: str) -> tuple[str, float]:
    phrase, equals, bonus = text.rpartition("=")
    try:
        return phrase, float(bonus) if equals else float("nan")
    except ValueError as error:
        raise ConfigError(f"--hotword {text}: expected PHRASE=BONUS, the bonus a number of nats") from error


def _shown(one: Transcript, alphabet: Alphabet) -> dict[str, Any]:
    return asdict(one) | {"symbols": [alphabet.symbols[symbol] for symbol in one.symbols]}
