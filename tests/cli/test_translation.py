"""The command line of translation, as a user types it."""

import io
import json
from pathlib import Path

import pytest

from elman.predict import load
from pair_files import SETTINGS, made_pairs, write_aligned, write_table
from .conftest import Command

pytest.importorskip("sacrebleu", reason="needs elman[translation]")
