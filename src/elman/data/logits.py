"""Cached outputs of a CTC network: logits, the alphabet that they are over, and what was said, in one file.

    FILE.safetensors   tensors    logits   (T, C) floats, the frames of all utterances one after the other
                                  lengths  (N,) int64, frames of each utterance; their sum is T
                       metadata   symbols     JSON list of C texts, the blank first
                                  separator   the text of the symbol between words; optional
                                  names       JSON list of N texts; optional
                                  references  JSON list of N texts; optional
    FILE.npz           the same under the same names; symbols, names and references as arrays of strings

logits may be log probabilities. Nothing in a file is code, and none is pickled.
"""

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elman.data.alphabet import Alphabet
from elman.errors import ConfigError, DataError
from elman.padded import Padded


@dataclass(frozen=True)
class CachedLogits:
    """utterances: logits (T_n, C) each; names and references: one for each utterance, or none at all."""

    utterances: Sequence[Tensor]
    alphabet: Alphabet
    names: tuple[str, ...] = ()
    references: tuple[str, ...] = ()

    def batches(self, size: int = 32) -> list[Padded]:
        """(T, N, C) and lengths, `size` utterances at a time."""
        return [
            Padded.of(self.utterances[start : start + size]) for start in range(0, len(self.utterances), size)
        ]


def read_logits(path: str | Path) -> CachedLogits:
    """What a .safetensors or .npz file holds; raises DataError naming the file and what is wrong in it."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected cached logits, .safetensors or .npz")
    if path.suffix not in (".safetensors", ".npz"):
        raise DataError(f"{path}: expected a name that ends in .safetensors or .npz")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_npz(path)
    for name in ("logits", "lengths", "symbols"):
        if name not in content:
            raise DataError(
                f"{path}: expected {name!r} in it; it has {', '.join(sorted(content)) or 'nothing'}"
            )
    logits, lengths = content["logits"], content["lengths"]
    if logits.dim() != 2 or not logits.is_floating_point():
        raise DataError(f"{path}: logits: expected floats (T, C), got {tuple(logits.shape)} {logits.dtype}")
    if lengths.dim() != 1 or lengths.is_floating_point() or bool((lengths < 0).any()):
        raise DataError(f"{path}: lengths: expected integers (N,) of 0 or more, got {tuple(lengths.shape)}")
    if int(lengths.sum()) != len(logits):
        raise DataError(
            f"{path}: the lengths add up to {int(lengths.sum())} frames, but logits has {len(logits)}"
        )
    try:
        alphabet = Alphabet(content["symbols"], content.get("separator") or " ")
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error
    if len(alphabet) != logits.shape[1]:
        raise DataError(f"{path}: {len(alphabet)} symbols for {logits.shape[1]} classes of logits")
    texts = {}
    for name in ("names", "references"):
        texts[name] = tuple(content.get(name, ()))
        if texts[name] and len(texts[name]) != len(lengths):
            raise DataError(f"{path}: {len(texts[name])} {name} for {len(lengths)} utterances")
    return CachedLogits(logits.split(lengths.tolist()), alphabet, texts["names"], texts["references"])


def write_logits(path: str | Path, cached: CachedLogits) -> None:
    """Writes a .safetensors file; raises DataError where it cannot be written."""
    if Path(path).suffix != ".safetensors":
        raise DataError(f"{path}: expected a name that ends in .safetensors")
    alphabet = cached.alphabet
    metadata = {"symbols": json.dumps(alphabet.symbols, ensure_ascii=False)}
    if alphabet.separator is not None:
        metadata["separator"] = alphabet.symbols[alphabet.separator]
    for name, texts in (("names", cached.names), ("references", cached.references)):
        if texts:
            metadata[name] = json.dumps(texts, ensure_ascii=False)
    tensors = {
        "logits": torch.cat([logits.detach().cpu() for logits in cached.utterances]).contiguous(),
        "lengths": torch.tensor([len(logits) for logits in cached.utterances], dtype=torch.int64),
    }
    try:
        save_file(tensors, path, metadata)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be written: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            content: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: not a safetensors file that can be read: {error}") from error
    for name in ("symbols", "names", "references"):
        if name in metadata:
            content[name] = _texts(path, name, lambda name=name: json.loads(metadata[name]))
    return content | {name: metadata[name] for name in ("separator",) if name in metadata}


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            file = np.load(stream)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: one array; expected an .npz file of several")
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: not an .npz file of plain arrays: {error}") from error
    content: dict[str, Any] = {}
    for name, array in arrays.items():
        if name in ("logits", "lengths"):
            try:
                content[name] = torch.from_numpy(np.ascontiguousarray(array))
            except TypeError as error:
                raise DataError(f"{path}: {name}: expected numbers, got {array.dtype}") from error
        elif name == "separator":
            content[name] = str(array)
        else:
            content[name] = _texts(path, name, lambda array=array: array.tolist())
    return content


def _texts(path: Path, name: str, read: Callable[[], Any]) -> list[str]:
    try:
        texts = read()
    except ValueError as error:
        raise DataError(f"{path}: {name}: not JSON: {error}") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{path}: {name}: expected a list of texts")
    return texts
