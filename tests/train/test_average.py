"""The moving average of the weights, against the sum written out, and what a run keeps of it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from elman.errors import RunError
from elman.predict import load_model
from elman.storage import read_tensors
from elman.train.average import Average, split_trained
from elman.weights import put_weights, weights_of
from small_runs import PLAIN, train_small, write_text


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_it_is_the_weighted_sum(keep: float) -> None:
    model = nn.Linear(2, 1, bias=False)
    seen = [float(k) for k in torch.linspace(-1, 2, 30)]
    with torch.no_grad():
        model.weight.fill_(seen[0])
        average = Average(model, keep)
        for update, value in enumerate(seen[1:], 1):
            model.weight.fill_(value)
            average.take(model, update)
    kept = [min(keep, (1 + t) / (10 + t)) for t in range(1, 30)]
    expected, rest = 0.0, 1.0
    for value, k in zip(reversed(seen[1:]), reversed(kept), strict=True):
        expected += rest * (1 - k) * value
        rest *= k
    expected += rest * seen[0]
    torch.testing.assert_close(average.tensors["weight"], torch.full((1, 2), expected))


def test_the_model_has_its_own_weights_back() -> None:
    model = nn.Linear(3, 3)
    average = Average(model, 0.9)
    own = {name: weight.clone() for name, weight in weights_of(model).items()}
    average.tensors["weight"].zero_()

    def leave() -> None:
        with average.within(model):
            assert not model.weight.any()
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    torch.testing.assert_close(dict(weights_of(model)), own, rtol=0, atol=0)


def test_a_run_keeps_the_average_for_use_and_the_trained_weights_to_go_on(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    train_small(text, tmp_path / "plain", PLAIN)
    train_small(text, tmp_path / "averaged", PLAIN | {"train.average": 0.9})
    name = "checkpoints/update-00000006"
    plain = read_tensors(tmp_path / "plain" / name / "weights.safetensors")
    used = read_tensors(tmp_path / "averaged" / name / "weights.safetensors")
    moments = read_tensors(tmp_path / "averaged" / name / "optimizer.safetensors")
    for key, weight in plain.items():
        torch.testing.assert_close(moments[f"trained/{key}"], weight, rtol=0, atol=0)
        assert not torch.equal(used[key], weight)
    model = load_model(tmp_path / "averaged", "newest")[2]
    torch.testing.assert_close(dict(weights_of(model)), used, rtol=0, atol=0)


def test_a_run_whose_trained_weights_are_gone_says_so(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    trained, moments = split_trained(
        {"exp_avg/weight": torch.zeros(2, 2), "trained/weight": torch.ones(2, 2)}
    )
    assert list(moments) == ["exp_avg/weight"]
    with pytest.raises(RunError, match=r"optimizer.safetensors: 'bias' is missing"):
        put_weights(model, trained, "optimizer.safetensors")
