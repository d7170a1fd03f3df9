"""The moving average of the weights, against the sum written out, and what a run keeps of it."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

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
    text, name = write_text(tmp_path), "checkpoints/update-{:08d}"
    seen: dict[int, dict[str, Tensor]] = {}
    for updates in range(1, 4):  # a constant rate: the weights after an update do not depend on the last one
        settings = PLAIN | {"train.updates": updates, "train.schedule": "constant"}
        train_small(text, tmp_path / f"plain{updates}", settings)
        place = tmp_path / f"plain{updates}" / name.format(updates) / "weights.safetensors"
        seen[updates] = read_tensors(place)
    train_small(
        text,
        tmp_path / "run",
        PLAIN | {"train.average": 0.3, "train.schedule": "constant", "train.updates": 3},
    )
    used = read_tensors(tmp_path / "run" / name.format(3) / "weights.safetensors")
    moments = read_tensors(tmp_path / "run" / name.format(3) / "optimizer.safetensors")
    for key, weight in seen[3].items():
        torch.testing.assert_close(moments[f"trained/{key}"], weight, rtol=0, atol=0)
    # The weights drawn at random, which no run keeps, follow from the average after all updates but them.
    kept = [min(0.3, (1 + t) / (10 + t)) for t in range(1, 4)]
    begin = math.prod(kept)
    for key, weight in used.items():
        rest = torch.zeros_like(weight)
        for update, k in enumerate(kept, 1):
            rest = k * rest + (1 - k) * seen[update][key]
        drawn = (weight - rest) / begin
        assert float((drawn - seen[1][key]).abs().max()) < 0.05, key  # one update of rate 3e-3 apart
    model = load_model(tmp_path / "run", "newest")[2]
    torch.testing.assert_close(dict(weights_of(model)), used, rtol=0, atol=0)


def test_a_run_whose_trained_weights_are_gone_says_so(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    trained, moments = split_trained(
        {"exp_avg/weight": torch.zeros(2, 2), "trained/weight": torch.ones(2, 2)}
    )
    assert list(moments) == ["exp_avg/weight"]
    with pytest.raises(RunError, match=r"optimizer.safetensors: 'bias' is missing"):
        put_weights(model, trained, "optimizer.safetensors")
