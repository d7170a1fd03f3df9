"""The experiment on strings, small: what is drawn, what counts as exact, copying beyond trained lengths."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from elman.models.seq2seq import Seq2Seq

ROOT = Path(__file__).resolve().parents[2]
SPECIFICATION = importlib.util.spec_from_file_location("strings", ROOT / "reproduce" / "strings.py")
assert SPECIFICATION is not None
assert SPECIFICATION.loader is not None
strings = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(strings)


@pytest.mark.parametrize("task", ["reverse", "copy"])
def test_what_is_drawn(task: str) -> None:
    drawn = strings.draw(task, 5, 2, 4, 50, torch.Generator().manual_seed(0))
    assert set(drawn.lengths.tolist()) == {3, 4, 5}
    for n, length in enumerate(drawn.lengths.tolist()):
        begin, *string, end = drawn.source.data[: length + 1, n].tolist()
        written = string[::-1] if task == "reverse" else string
        assert (begin, end) == (6, 5)
        assert drawn.inputs[:length, n].tolist() == [6, *written]
        assert drawn.targets[:length, n].tolist() == [*written, 5]


def test_a_fault_anywhere_counts() -> None:
    """A model that writes by the position alone: exact for the one string that it knows."""

    class Fixed(Seq2Seq):
        def start(self, encoded: Any, weights: Any = "float32") -> Any:
            def step(ids: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                symbol = torch.tensor([1, 0, 2])[state[0].clamp(max=2)]
                return torch.nn.functional.one_hot(symbol, 4).expand(len(ids), 4).float(), state + 1

            return step, torch.zeros(4, dtype=torch.int64)

    rows = [[1, 0, 2], [1, 1, 2], [1, 2, 0], [1, 0, 2]]
    lengths = torch.tensor([3, 3, 2, 3])
    targets = torch.tensor(rows).t()
    source = strings.Padded(targets, lengths)
    found = strings.exact(
        Fixed(4, 4, embedding=2, hidden=2), strings.Strings(source, targets, targets, lengths)
    )
    assert found == 0.5


def test_copies_beyond_the_lengths_of_its_training() -> None:
    """Strings of 1 to 5 of 4 symbols; exact up to 5, and nearly so at 8."""
    torch.manual_seed(0)
    model = strings.build(4, 32)
    strings.train(model, "copy", 4, 5, updates=350, batch=16, rate=4e-3, seed=0)
    generator = torch.Generator().manual_seed(9)
    assert strings.exact(model, strings.draw("copy", 4, 1, 5, 300, generator)) == 1.0
    assert strings.exact(model, strings.draw("copy", 4, 8, 8, 300, generator)) >= 0.9
