"""Writes calls of the scan, with what came out of them, to files that driver.cpp repeats without Python.

    python tests/driver/cases.py FOLDER

The driver is what runs where no Python does: under the thread sanitizer, and compiled for another processor
under an emulator. What is written is what the engine gave here, which the other tests have compared with the
reference. A file is a row of numbers and arrays, each an int64 count (-1 where there is none) and its int64
or float32 values, little-endian, in the order of `write`.
"""

import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from elman import native_path
from elman.attention import ATTENTIONS
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.cells.decoder import AttentionCell
from elman.native_path import Sequences
from elman.programs import encode
from elman.scan import scan
from elman.tokens import Tokens


class Recorded(Sequences):
    """Calls that remember themselves; the last one is `Recorded.last`."""

    last: "dict[str, Any]"

    def forward(self, tensors: Sequence[Tensor | None]) -> tuple[list[Tensor], Any]:
        results, saved = super().forward(tensors)
        Recorded.last = {
            "call": self,
            "tensors": list(tensors),
            "results": [part.clone() for part in results],
        }
        return results, saved

    def backward(
        self, saved: Any, tensors: Sequence[Any], wanted: Sequence[bool], d_outputs: Sequence[Tensor]
    ) -> list[Tensor | None]:
        derivatives = super().backward(saved, tensors, [True] * len(wanted), d_outputs)
        given = [None if d is None else d.clone() for d in derivatives]
        Recorded.last |= {"d_outputs": [d.contiguous().clone() for d in d_outputs], "derivatives": given}
        return derivatives


def numbers(file: BinaryIO, values: Sequence[int] | None) -> None:
    file.write(struct.pack("<q", -1 if values is None else len(values)))
    file.write(struct.pack(f"<{len(values or ())}q", *(values or ())))


def floats(file: BinaryIO, values: Tensor | None) -> None:
    file.write(struct.pack("<q", -1 if values is None else values.numel()))
    if values is not None:
        file.write(values.detach().contiguous().numpy().tobytes())


def group(file: BinaryIO, arrays: Sequence[Tensor | None]) -> None:
    numbers(file, [len(arrays)])
    for array in arrays:
        floats(file, array)


def write(path: Path) -> None:
    """The last recorded call: plan, batch, arrays in, what came out, derivatives in, what came out."""
    last = Recorded.last
    call: Sequences = last["call"]
    inputs, *_, memories, _ = call.split(last["tensors"])
    with path.open("wb") as file:
        numbers(file, encode(call.made.plan))
        floats(file, torch.tensor(call.made.plan.consts))
        numbers(file, [call.time, call.batch, call.reverse, len(inputs[0]), call.half, call.made.divisible])
        numbers(file, [x.shape[2] for x in inputs])
        numbers(file, [keys.shape[1] for keys in memories[::3]])
        numbers(file, None if call.lengths is None else call.lengths.tolist())
        numbers(file, None if call.ids is None else call.ids.flatten().tolist())
        for arrays in call.split(last["tensors"]):
            group(file, arrays)
        group(file, last["results"])
        group(file, last["d_outputs"])
        *others, d_memories, d_states = call.split(last["derivatives"])
        d_memories[1::3] = [torch.zeros_like(bias) for bias in memories[1::3]]  # what is there has no meaning
        for arrays in (*others, d_memories, d_states):
            group(file, arrays)


def decoder(attention: str, order: str) -> Cell:
    """An LSTM that attends to a memory of seven elements."""
    cell = AttentionCell([LSTMCell(19, 33)], ATTENTIONS[attention](33, 33), order=order)
    return cell.bind(torch.randn(6, 7, 33, requires_grad=True), torch.tensor([6, 1, 2, 6, 3, 5, 4]))


def cases() -> dict[str, tuple[Cell, Any, Tensor | None, torch.dtype | None]]:
    torch.manual_seed(0)
    ragged = torch.tensor([9, 1, 0, 7, 9, 4, 3])
    x = torch.randn(9, 7, 19)
    return {
        "elman": (ElmanCell(19, 33), x, ragged, None),
        "gru": (GRUCell(19, 33), x, None, None),
        "gru-before": (GRUCell(19, 20, reset="before"), x, ragged, None),
        "lstm": (LSTMCell(19, 33), x, ragged, None),
        "lstm-peepholes": (LSTMCell(19, 48, peepholes=True), x, ragged, None),
        "lstm-projected": (LSTMCell(19, 33, projection=5), x, None, None),
        "lstm-symbols": (LSTMCell(19, 33), Tokens(torch.randint(0, 19, (9, 7))), ragged, None),
        "lstm-bfloat16": (LSTMCell(19, 33), x, ragged, torch.bfloat16),
        "attending": (decoder("additive", "luong"), x, ragged, None),
        "attending-before": (decoder("dot", "bahdanau"), x, None, None),
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    native_path.Sequences = Recorded  # every call of this process is recorded
    for name, (cell, inputs, lengths, compute) in cases().items():
        outputs, _ = scan(cell, inputs, lengths=lengths, kernels="native", compute=compute)
        outputs.backward(torch.randn_like(outputs))
        write(folder / f"{name}.case")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
