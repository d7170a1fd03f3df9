"""A language model in use, against reading one symbol after the other and against every text there is.

Shapes: V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import pytest
import torch

import oracles
from elman.data.codec import ByteCodec, CharacterCodec, Codec, WordCodec
from elman.errors import ConfigError, DataError
from elman.search.sampling import Sampling
from elman.tasks.language_predictor import Completion, Context, LanguagePredictor
from language_oracles import OneByOne, all_texts, finished_texts, fits, small

CHARACTERS = CharacterCodec.of("abc.")
WORDS = WordCodec.of("to be or not to be\nthat is\n", minimum_count=1)
CODECS: dict[str, Codec] = {"characters": CHARACTERS, "words": WORDS, "bytes": ByteCodec()}


def predictor(codec: Codec = CHARACTERS, cell: str = "lstm", seed: int = 4) -> LanguagePredictor:
    model = small(len(codec), cell, layers=2, embedding=4, residual=True, dropout=0.5, seed=seed)
    return LanguagePredictor(model.train(), codec)  # which must not thin out what it uses


def by_hand(model: LanguagePredictor) -> OneByOne:
    return OneByOne(model.model)


def encoded(model: LanguagePredictor, text: str) -> tuple[int, ...]:
    return tuple(model.codec.encode(text).tolist())


def same(one: Context, other: Context) -> bool:
    """Whether two contexts say the same, to the last digits."""
    close = torch.allclose(one.logits, other.logits, rtol=0, atol=1e-12)
    layers = zip(one.state.layers, other.state.layers, strict=True)
    states = all(
        torch.allclose(a, b, rtol=0, atol=1e-12) for x, y in layers for a, b in zip(x, y, strict=True)
    )
    return close and states and one.position == other.position and one.last == other.last


def test_nothing_is_thinned_out() -> None:
    model = small(4, "lstm", layers=2, embedding=4, residual=True, seed=4)
    assert torch.equal(
        predictor().read("abc").logits, LanguagePredictor(model, CHARACTERS).read("abc").logits
    )


class TestRead:
    def test_before_any_text(self) -> None:
        model = predictor()
        start = model.start()
        assert torch.equal(start.logits[0], model.model.head.bias)
        assert (start.position, start.last) == (0, None)
        assert not any(bool(part.any()) for layer in start.state.layers for part in layer)

    @pytest.mark.parametrize("text", ["a", "abc.cba", "ccc"])
    def test_the_whole_is_step_by_step(self, text: str) -> None:
        model = predictor()
        context = model.read(text)
        ids = encoded(model, text)
        log_probs, state = by_hand(model).after(ids)
        assert np.abs(context.logits[0].log_softmax(0).numpy() - log_probs).max() < 1e-12
        assert same(context, Context(context.logits, state, len(text), ids[-1]))

    def test_in_parts(self) -> None:
        model = predictor()
        parts = model.start()
        for part in ("ab", "", "c", ".ab"):
            parts = model.read(part, parts)
        assert same(parts, model.read("abc.ab"))

    def test_a_context_is_not_used_up(self) -> None:
        model = predictor()
        context = model.read("ab")
        kept = Context(context.logits.clone(), context.state, context.position, context.last)
        model.generate("c", length=5, context=context)
        model.score("abc", context=context)
        model.complete("a", context=context)
        assert same(context, kept)
        assert same(context, model.read("ab"))

    @pytest.mark.parametrize(
        ("act", "name"),
        [
            (lambda model: model.read("ab\ndz"), "prompt: line 2, column 1"),
            (lambda model: model.generate("xa"), "prompt: line 1, column 1"),
            (lambda model: next(model.stream("xa")), "prompt: line 1, column 1"),
            (lambda model: model.complete("ax"), "prompt: line 1, column 2"),
            (lambda model: model.score("ax"), "text: line 1, column 2"),
            (lambda model: model.compare(["a", "b", "cx"]), "text 3: line 1, column 2"),
            (lambda model: model.predict(["a", "x"]), "input 2: line 1, column 1"),
        ],
    )
    def test_an_unknown_symbol_is_named_with_its_text(
        self, act: Callable[[LanguagePredictor], object], name: str
    ) -> None:
        model = predictor(CharacterCodec.of("abc\n"))
        with pytest.raises(DataError, match=f"^{name}: the symbol "):
            act(model)


class TestScore:
    @pytest.mark.parametrize(
        ("unit", "text"), [("characters", "abc.ca."), ("words", "to be\nthat is not"), ("bytes", "kůň €")]
    )
    def test_symbol_by_symbol(self, unit: str, text: str) -> None:
        model = predictor(CODECS[unit])
        score = model.score(text)
        ids = encoded(model, text)
        expected = by_hand(model).log_probs(ids)
        assert score.log_probs == pytest.approx(expected, abs=1e-12)
        assert score.symbols == tuple(model.codec.symbols[index] for index in ids)
        assert score.log_prob == pytest.approx(math.fsum(expected), abs=1e-12)
        assert score.nats == pytest.approx(-math.fsum(expected) / len(ids), abs=1e-12)
        assert score.text == text

    def test_a_symbol_has_the_probability_that_was_foretold(self) -> None:
        model = predictor()
        total, context = 0.0, model.start()
        for symbol in "cab.":
            foretold = dict(model.next(context, best=4))
            assert math.fsum(foretold.values()) == pytest.approx(1, abs=1e-12)
            assert list(foretold.values()) == sorted(foretold.values(), reverse=True)
            total += math.log(foretold[symbol])
            context = model.read(symbol, context)
        assert model.score("cab.").log_prob == pytest.approx(total, abs=1e-12)

    @pytest.mark.parametrize("length", [1, 2, 3])
    def test_all_texts_of_a_length_add_up_to_one(self, length: int) -> None:
        model = predictor()
        context = model.read("ca")
        for before in (None, context):
            texts = [model.codec.decode(ids) for ids in all_texts(4, length)]
            sums = math.fsum(math.exp(model.score(text, context=before).log_prob) for text in texts)
            assert sums == pytest.approx(1, abs=1e-12)

    def test_after_a_context(self) -> None:
        model = predictor()
        tail = model.score("ca.", context=model.read("ab"))
        assert tail.log_probs == pytest.approx(model.score("abca.").log_probs[2:], abs=1e-12)

    def test_no_text(self) -> None:
        score = predictor().score("")
        assert (score.log_probs, score.symbols, score.log_prob, score.nats) == ((), (), 0, 0)

    def test_next_gives_no_more_than_there_are(self) -> None:
        model = predictor()
        assert len(model.next(model.start(), best=99)) == 4
        assert len(model.next(model.start(), best=2)) == 2


class TestCompare:
    def test_the_likeliest_first(self) -> None:
        model = predictor()
        texts = ["abc", "cab", "...", "a", "bc.", "ccca"]
        ranked = model.compare(texts)
        reference = by_hand(model)
        expected = sorted(texts, key=lambda text: -reference.log_prob(encoded(model, text)))
        assert [score.text for score in ranked] == expected
        after = model.compare(texts, context=model.read("b"))
        expected = sorted(texts, key=lambda text: -reference.log_prob(encoded(model, "b" + text)))
        assert [score.text for score in after] == expected

    def test_texts_that_are_equally_likely_stay_in_order(self) -> None:
        model = predictor()
        with torch.no_grad():
            for parameter in model.model.parameters():
                parameter.zero_()
        assert [score.text for score in model.compare(["cc", "ab", "ba"])] == ["cc", "ab", "ba"]

    def test_predictions_rank_and_foretell(self) -> None:
        model = predictor()
        inputs = ["abc", "a", "cc."]
        predictions = model.predict(inputs, best=2)
        order = [score.text for score in model.compare(inputs)]
        for text, prediction in zip(inputs, predictions, strict=True):
            score = model.score(text)
            assert prediction == {
                "input": text,
                "log_prob": score.log_prob,
                "nats": score.nats,
                "symbols": len(text),
                "rank": order.index(text) + 1,
                "each": [
                    {"symbol": s, "log_prob": p} for s, p in zip(score.symbols, score.log_probs, strict=True)
                ],
                "next": [{"symbol": s, "probability": p} for s, p in model.next(model.read(text), 2)],
            }


class TestGenerate:
    @pytest.mark.parametrize("prompt", ["", "ab", "c.c"])
    def test_greedy_is_the_likeliest_at_each_place(self, prompt: str) -> None:
        model = predictor()
        reference = by_hand(model)
        ids = encoded(model, prompt)
        for _ in range(12):
            ids = (*ids, int(reference.after(ids)[0].argmax()))
        made = model.generate(prompt, length=12, temperature=0, seed=9)
        assert made.ids == ids[len(prompt) :]
        assert made.text == model.codec.decode(made.ids)
        assert made.log_probs == pytest.approx(reference.log_probs(ids)[len(prompt) :], abs=1e-12)

    @pytest.mark.parametrize(
        ("temperature", "top_k", "top_p"),
        [(1.0, None, None), (0.5, None, None), (1.5, 3, None), (1.0, None, 0.6)],
    )
    def test_each_symbol_is_the_counters_choice(
        self, temperature: float, top_k: int | None, top_p: float | None
    ) -> None:
        model = predictor()
        reference = by_hand(model)
        sampling = Sampling(temperature, top_k, top_p)
        ids = encoded(model, "ab")
        for position in range(2, 42):
            p = sampling.probabilities(torch.from_numpy(reference.after(ids)[0])[None])[0].tolist()
            uniform = oracles.counter_uniform(5, position, 0)
            ids = (*ids, sum(uniform >= total for total in accumulate(p)))
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": 5}
        made = model.generate("ab", length=40, **options)
        assert made.ids == ids[2:]
        # Under the model itself, whatever the temperature.
        assert made.log_probs == pytest.approx(reference.log_probs(ids)[2:], abs=1e-12)
        assert same(made.context, model.read("ab" + made.text))

    def test_many_seeds_draw_what_the_model_expects(self) -> None:
        model = predictor()
        context = model.read("b")
        drawn = torch.tensor(
            [model.generate(length=1, seed=seed, context=context).ids[0] for seed in range(1500)]
        )
        p = torch.from_numpy(np.exp(by_hand(model).after(encoded(model, "b"))[0]))
        assert fits(drawn.bincount(minlength=4), p) > 1e-3
        assert fits(drawn.bincount(minlength=4), p.roll(1)) < 1e-6

    def test_a_seed_is_a_text(self) -> None:
        model = predictor()
        torch.manual_seed(1)
        one = model.generate("a", length=40, seed=3)
        torch.manual_seed(2)
        assert model.generate("a", length=40, seed=3).text == one.text
        assert model.generate("a", length=40, seed=4).text != one.text

    @pytest.mark.parametrize("unit", ["characters", "words"])
    def test_in_parts_as_at_once(self, unit: str) -> None:
        model = predictor(CODECS[unit])
        prompt = {"characters": "ab", "words": "to be"}[unit]
        whole = model.generate(prompt, length=30, seed=2)
        context, text, log_probs = model.read(prompt), "", ()
        for length in (7, 0, 1, 12, 10):
            part = model.generate(length=length, seed=2, context=context)
            context, text, log_probs = part.context, text + part.text, log_probs + part.log_probs
        assert text == whole.text
        assert log_probs == pytest.approx(whole.log_probs, abs=1e-12)
        assert same(context, whole.context)

    @pytest.mark.parametrize("unit", CODECS)
    def test_the_stream_is_the_text(self, unit: str) -> None:
        model = predictor(CODECS[unit])
        for length in (0, 1, 33):
            pieces = list(model.stream(length=length, seed=1))
            assert len(pieces) == length
            assert "".join(pieces) == model.generate(length=length, seed=1).text

    def test_words_go_on_with_a_space(self) -> None:
        model = predictor(WORDS)
        text = model.generate("to", length=200, seed=1).text
        assert WORDS.encode("to" + text).tolist() == [*encoded(model, "to"), *encoded(model, text)]
        assert text.startswith((" ", "\n"))
        assert not model.generate("to be\n", length=1, seed=1).text.startswith(" ")
        assert {" " + symbol for symbol in WORDS.symbols} & {model.generate("to", length=1, seed=1).text}

    def test_characters_of_several_bytes(self) -> None:
        model = predictor(CODECS["bytes"])
        with torch.no_grad():  # a model that says ů again and again, and never anything else
            first, second = "ů".encode()
            weight = torch.full_like(model.model.head.weight, 0)
            model.model.head.weight.copy_(weight)
            model.model.head.bias.fill_(-100)
            model.model.head.bias[[first, second]] = torch.tensor([1.0, 1.0], dtype=torch.float64)
        made = model.generate("k", length=60, seed=1)
        assert set(made.ids) == {first, second}
        shown = bytes(made.ids).decode("utf-8", "replace")
        cut = made.ids[-1] == first  # the beginning of a character, of which nothing can be said yet
        assert made.text == (shown[:-1] if cut else shown)
        assert "".join(model.stream("k", length=60, seed=1)) == made.text
        assert "ů" in made.text

    def test_nothing_to_draw(self) -> None:
        model = predictor()
        made = model.generate("ab", length=0)
        assert (made.text, made.ids, made.log_probs) == ("", (), ())
        assert same(made.context, model.read("ab"))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"length": -1}, "length: expected 0 or more, got -1"),
            ({"stop": ["a", ""]}, "stop: an empty text"),
            ({"temperature": -1}, "temperature: .* got -1"),
            ({"top_k": 0}, "top-k: .* got 0"),
        ],
    )
    def test_values_out_of_range(self, options: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            predictor().generate("a", **options)


class TestStop:
    @pytest.mark.parametrize("unit", CODECS)
    @pytest.mark.parametrize("seed", range(4))
    def test_ends_with_the_first_of_the_texts(self, unit: str, seed: int) -> None:
        model = predictor(CODECS[unit])
        stops = {"characters": ["ab", "aaa"], "words": ["\n", "or to"], "bytes": ["xyz", "x", "K"]}[unit]
        whole = list(model.stream(length=150, seed=seed))
        made = model.generate(length=150, seed=seed, stop=stops)
        said = ["".join(whole[: n + 1]) for n in range(len(whole))]
        end = next((n for n, text in enumerate(said) if text.endswith(tuple(stops))), len(whole) - 1)
        assert made.text == said[end]
        assert len(made.ids) == end + 1
        assert same(made.context, model.read(made.text)) or unit == "bytes"

    def test_a_text_in_the_prompt_does_not_count(self) -> None:
        model = predictor()
        text = model.generate("abc.", length=30, seed=1).text
        assert model.generate("abc.", length=30, seed=1, stop=["." + text[0]]).text == text.split(
            "." + text[0]
        )[0] + ("." + text[0] if "." + text[0] in text else "")

    def test_none_of_the_texts_comes(self) -> None:
        model = predictor()
        assert len(model.generate(length=20, stop=["never said"]).ids) == 20


class TestGradMode:
    def test_a_stream_that_waits_changes_nothing(self) -> None:
        model = predictor()
        pieces = model.stream("ab", length=3)
        for _ in range(3):
            next(pieces)
            assert torch.is_grad_enabled()
            assert (torch.ones(1, requires_grad=True) * 2).requires_grad
        assert next(pieces, None) is None
        assert torch.is_grad_enabled()

    def test_nor_where_gradients_are_off(self) -> None:
        pieces = predictor().stream("ab", length=2)
        with torch.no_grad():
            next(pieces)
            assert not torch.is_grad_enabled()
        next(pieces)
        assert torch.is_grad_enabled()

    def test_nothing_that_comes_back_has_a_history(self) -> None:
        model = predictor()
        for context in (model.start(), model.read("ab"), model.generate("a", length=2).context):
            assert not context.logits.requires_grad
            assert not any(part.requires_grad for layer in context.state.layers for part in layer)


class TestComplete:
    def expected(
        self, model: LanguagePredictor, prompt: str, length: int, stops: Sequence[int]
    ) -> list[tuple[tuple[int, ...], float]]:
        """Every way to go on, the likeliest first."""
        reference, before = by_hand(model), encoded(model, prompt)
        given = reference.log_prob(before)
        ways = finished_texts(len(model.codec), length, stops)
        found = [(ids, reference.log_prob((*before, *ids)) - given) for ids in ways]
        return sorted(found, key=lambda item: -item[1])

    @pytest.mark.parametrize(
        ("prompt", "stop"), [("", (".",)), ("ab", (".", "\n")), ("c", ()), ("a", ("b", "?"))]
    )
    def test_the_best_of_all_in_order(self, prompt: str, stop: tuple[str, ...]) -> None:
        model = predictor()
        found = model.complete(prompt, best=8, length=4, beam=256, stop=stop)
        stops = [model.codec.symbols.index(symbol) for symbol in stop if symbol in model.codec.symbols]
        expected = self.expected(model, prompt, 4, stops)[:8]
        assert [item.text for item in found] == [model.codec.decode(ids) for ids, _ in expected]
        assert [item.log_prob for item in found] == pytest.approx([value for _, value in expected], abs=1e-12)

    def test_a_context_goes_before_the_prompt(self) -> None:
        model = predictor()
        assert_same = model.complete("b", best=3, length=3, beam=64, context=model.read("ca"))
        for one, other in zip(assert_same, model.complete("cab", best=3, length=3, beam=64), strict=True):
            assert one.text == other.text
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-12)

    def test_words_end_with_their_line(self) -> None:
        model = predictor(WORDS)
        found = model.complete("to", best=6, length=3, beam=7**3, stop=("\n", "unheard"))
        expected = self.expected(model, "to", 3, [WORDS.symbols.index("<eos>")])[:6]
        assert any(item.text.endswith("\n") for item in found)
        for item, (ids, log_prob) in zip(found, expected, strict=True):
            assert WORDS.encode("to" + item.text).tolist() == [*encoded(model, "to"), *ids]
            assert item.log_prob == pytest.approx(log_prob, abs=1e-12)

    def test_bytes_end_with_theirs(self) -> None:
        model = predictor(CODECS["bytes"])
        with torch.no_grad():
            model.model.head.weight.zero_()
            model.model.head.bias.fill_(-50)
            for text, value in (("é", 1.5), ("\n", 2.0), ("n", 1.0)):
                model.model.head.bias[list(text.encode())] = value
        found = model.complete("", best=40, length=3, beam=200, stop=("\n",))
        assert found[0].text == "\n"
        assert not any("\n" in item.text[:-1] for item in found)
        assert any(item.text in ("é\n", "én") for item in found)
        best = Completion("é\n", math.nan)
        log_probs = {item.text: item.log_prob for item in found}
        assert log_probs[best.text] == pytest.approx(model.score("é\n").log_prob, abs=1e-12)
