"""What tests share: one torch thread, hypothesis without a clock, and the folder of data sets."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Threads that wait for each other over tiny tensors cost more than they bring, above all on busy cores.
torch.set_num_threads(1)

# No deadline: no test depends on how fast the machine is. In CI the examples are the same in each run.
settings.register_profile("elman", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("elman")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of data sets that ELMAN_DATA names; the test is skipped where the variable is unset."""
    value = os.environ.get("ELMAN_DATA")
    if not value:
        pytest.skip("needs data sets: set ELMAN_DATA to the folder that holds them")
    folder = Path(value)
    # A path that is set and wrong is a mistake of whoever ran the tests, no reason to skip.
    assert folder.is_dir(), f"ELMAN_DATA={value}: no such folder"
    return folder


@pytest.fixture(scope="session")
def data(data_folder: Path) -> Callable[[str], Path]:
    """`data("ptb")` is that entry of the data folder; the test is skipped where the entry is missing."""

    def entry(name: str) -> Path:
        path = data_folder / name
        if not path.exists():
            pytest.skip(f"needs the data set {name!r}, which is not in ELMAN_DATA={data_folder}")
        return path

    return entry
