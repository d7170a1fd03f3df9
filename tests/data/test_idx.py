"""The idx format, against bytes written by hand."""

import gzip
from pathlib import Path

import pytest
import torch

from elman.data.idx import read_idx
from elman.errors import DataError

GOOD = b"\0\0\x08\x02" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes(range(6))


def test_an_array(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(GOOD)
    (tmp_path / "a.gz").write_bytes(gzip.compress(GOOD))
    expected = torch.arange(6, dtype=torch.uint8).reshape(2, 3)
    assert torch.equal(read_idx(tmp_path / "a", 2), expected)
    assert torch.equal(read_idx(tmp_path / "a.gz", 2), expected)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x89PNG", "not an idx file"),
        (b"", "not an idx file"),
        (b"\0\0\x0d\x02" + GOOD[4:], "type 0x0d, expected 0x08"),
        (b"\0\0\x08\x03" + GOOD[4:], "3 axes, expected 2"),
        (GOOD[:-1], "2 x 3 values make a file of 18 bytes, got 17"),
        (GOOD + b"x", "got 19"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        read_idx(tmp_path / "a", 2)
    assert str(tmp_path / "a") in str(caught.value)


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(GOOD)[:-9])
    with pytest.raises(DataError, match="the gzip file is damaged"):
        read_idx(tmp_path / "a.gz", 2)
