"""LanguageModel against NumPy: embedding, stack, residuals, head, ties, dropout, state in and state out."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.cells import ElmanCell, GRUCell, LSTMCell, State, map_state
from elman.errors import ConfigError
from elman.models.language_model import LanguageModel
from language_oracles import dropout_factors, log_softmax, numpy_logits, small

TOKENS = torch.tensor([[0, 2], [1, 1], [4, 0], [3, 3], [2, 2], [2, 4], [0, 1]])
TIME, BATCH = TOKENS.shape

MODELS: dict[str, dict[str, Any]] = {
    "one-hot elman": {"cell": "elman", "embedding": 0},
    "gru": {"cell": "gru", "embedding": 2},
    "two lstms": {"cell": "lstm", "embedding": 3, "layers": 2},
    "residual": {"cell": "lstm", "embedding": 4, "layers": 2, "residual": True},
    "residual above the first": {"cell": "gru", "embedding": 0, "layers": 2, "residual": True},
    "tied": {"cell": "gru", "embedding": 4, "tied": True},
}


def flat(state: State) -> list[Tensor]:
    parts: list[Tensor] = []
    map_state(lambda part: parts.append(part) or part, state)
    return parts


@pytest.mark.parametrize("name", MODELS)
class TestAgainstNumpy:
    def test_logits(self, name: str) -> None:
        model = small(5, **MODELS[name])
        logits, _ = model(TOKENS)
        assert logits.shape == (TIME, BATCH, 5)
        expected = numpy_logits(model, TOKENS.numpy())
        assert np.abs(logits.detach().numpy() - expected).max() < 1e-12
        assert expected.std() > 0.1

    def test_resets_begin_anew(self, name: str) -> None:
        model = small(5, **MODELS[name])
        resets = torch.zeros(TIME, BATCH, dtype=torch.bool)
        resets[3, 0] = resets[5, 1] = True
        logits, _ = model(TOKENS, resets=resets)
        expected = numpy_logits(model, TOKENS.numpy(), resets.numpy())
        assert np.abs(logits.detach().numpy() - expected).max() < 1e-12

    def test_dropout_at_every_place(self, name: str) -> None:
        model = small(5, **MODELS[name], dropout=0.4).train()
        model.reseed(77)
        steps = np.arange(TIME)[:, None].repeat(BATCH, 1)
        # None on a one-hot input: the rows of the first matrix are not an embedding to be thinned.
        places = [0.4 if model.embedding is not None else 0.0, *[0.4] * len(model.stack.cells)]
        expected = numpy_logits(model, TOKENS.numpy(), factors=dropout_factors(77, places, steps))
        logits, _ = model(TOKENS)
        assert np.abs(logits.detach().numpy() - expected).max() < 1e-12
        assert np.abs(expected - numpy_logits(model, TOKENS.numpy())).max() > 0.1


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MODELS)
class TestInParts:
    def test_chunks_are_the_whole(self, name: str, training: bool) -> None:
        model = small(5, **MODELS[name], dropout=0.5).train(training)
        whole, end = model(TOKENS)
        pieces, state = [], model.initial_state(BATCH)
        for start, stop in ((0, 1), (1, 1), (1, 4), (4, TIME)):
            logits, state = model(TOKENS[start:stop], state)
            pieces.append(logits)
        assert torch.allclose(torch.cat(pieces), whole, rtol=0, atol=1e-13)
        assert all(
            torch.allclose(a, b, rtol=0, atol=1e-13) for a, b in zip(flat(state), flat(end), strict=True)
        )

    def test_steps_are_the_whole(self, name: str, training: bool) -> None:
        model = small(5, **MODELS[name], dropout=0.5).train(training)
        whole, end = model(TOKENS)
        state = model.initial_state(BATCH)
        for t in range(TIME):
            logits, state = model.step(TOKENS[t], state)
            assert torch.allclose(logits, whole[t], rtol=0, atol=1e-13)
        assert all(
            torch.allclose(a, b, rtol=0, atol=1e-13) for a, b in zip(flat(state), flat(end), strict=True)
        )


def test_lengths_end_an_element() -> None:
    model = small(5)
    lengths = torch.tensor([3, TIME])
    logits, state = model(TOKENS, lengths=lengths)
    short, end = model(TOKENS[:3, :1])
    assert torch.allclose(logits[:3, :1], short, rtol=0, atol=1e-13)
    assert torch.allclose(flat(state)[0][:1], flat(end)[0], rtol=0, atol=1e-13)


class TestDropout:
    def test_none_in_evaluation(self) -> None:
        with_, without = (small(5, embedding=4, dropout=p) for p in (0.5, 0.0))
        assert torch.equal(with_(TOKENS)[0], without(TOKENS)[0])

    def test_a_seed_is_a_set_of_masks(self) -> None:
        model = small(5, embedding=4, dropout=0.5).train()
        drawn = []
        for seed in (1, 2, 1):
            model.reseed(seed)
            drawn.append(model(TOKENS)[0])
        assert torch.equal(drawn[0], drawn[2])
        assert not torch.allclose(drawn[0], drawn[1])


def test_the_prior_is_that_of_the_zero_output() -> None:
    model = small(5, cell="lstm")
    prior = model.prior(3)
    assert prior.shape == (3, 5)
    expected = log_softmax(model.head.bias.detach().numpy())
    assert np.abs(prior.detach().log_softmax(1).numpy() - expected).max() < 1e-15


def test_tied_weights_are_one_parameter_with_both_gradients() -> None:
    model = small(5, embedding=4, tied=True)
    assert model.embedding is not None
    assert model.head.weight is model.embedding.weight
    assert (
        sum("embedding" in name or "head" in name for name, _ in model.named_parameters()) == 2
    )  # and the bias
    model(TOKENS)[0].square().sum().backward()
    gradient = model.embedding.weight.grad
    assert gradient is not None
    unused = small(5, embedding=4, tied=True)
    apart = small(5, embedding=4)
    assert unused.embedding is not None
    assert apart.embedding is not None
    with torch.no_grad():
        for parameter, value in zip(apart.stack.parameters(), unused.stack.parameters(), strict=True):
            parameter.copy_(value)
        apart.embedding.weight.copy_(unused.head.weight)
        apart.head.weight.copy_(unused.head.weight)
        apart.head.bias.copy_(unused.head.bias)
    apart(TOKENS)[0].square().sum().backward()
    assert apart.embedding.weight.grad is not None
    assert apart.head.weight.grad is not None
    both = apart.embedding.weight.grad + apart.head.weight.grad
    assert torch.allclose(gradient, both, rtol=1e-12)


def test_a_lower_precision_is_for_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", "torch")  # whose kernels alone have it

    def model(compute: torch.dtype | None) -> LanguageModel:
        torch.manual_seed(0)
        return LanguageModel(5, [LSTMCell(4, 4)], embedding=4, compute=compute)

    exact, rough = model(None), model(torch.bfloat16)
    assert torch.equal(exact.eval()(TOKENS)[0], rough.eval()(TOKENS)[0])
    a, b = exact.train()(TOKENS)[0], rough.train()(TOKENS)[0]
    assert b.dtype == torch.float32
    assert not torch.equal(a, b)
    assert torch.allclose(a, b, atol=0.05)


class TestSizesThatDoNotFit:
    def test_tied_to_an_output_of_another_size(self) -> None:
        with pytest.raises(
            ConfigError, match=r"tied: the embedding \(3\) must .* output \(4\); .*model.tied=false"
        ):
            LanguageModel(5, [GRUCell(3, 4)], embedding=3, tied=True)

    def test_tied_without_an_embedding(self) -> None:
        with pytest.raises(ConfigError, match=r"tied: the embedding \(one-hot\)"):
            LanguageModel(5, [GRUCell(5, 5)], embedding=0, tied=True)

    @pytest.mark.parametrize(("embedding", "size"), [(0, 5), (2, 2)])
    def test_a_first_cell_for_another_input(self, embedding: int, size: int) -> None:
        with pytest.raises(ConfigError, match=f"the first cell takes 3, its input has {size}"):
            LanguageModel(5, [ElmanCell(3, 4)], embedding=embedding)
