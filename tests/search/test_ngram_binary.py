"""The binary form: what is saved is opened; what was altered is refused, and never read past its end."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elman.errors import DataError
from elman.kernels import native_available
from elman.search.ngram import NgramModel
from elman.search.ngram_arpa import write_arpa
from elman.search.ngram_binary import open_binary, save_binary
from elman.search.ngram_files import load_ngram, open_ngram, save_ngram
from ngram_texts import drawn, model_of

pytestmark = pytest.mark.skipif(not native_available(), reason="n-gram models need the native module")

HEADER = 128


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[NgramModel, Path, bytes]:
    folder = tmp_path_factory.mktemp("ngram")
    model, _ = model_of(folder, drawn(4, sentences=40), 3)
    save_binary(model, folder / "model.ngram")
    return model, folder, (folder / "model.ngram").read_bytes()


def ask(model: NgramModel) -> None:
    """Every kind of question, so that every array of the model is gone through."""
    assert all(isinstance(word, str) for word in model.vocabulary)
    for word in ("w0", "w1", "w2", "nowhere", ""):
        model.score(model.start(), model.vocabulary[word])
    state = 0
    for word in range(min(len(model.vocabulary), 30)):
        _, state = model.score(state, word)
        model.distribution(state)
    model.sentence("w0 w1 w2 w3 w0 w0 x w4 w5 w6")


@pytest.mark.parametrize("order", [1, 2, 5])
def test_what_is_saved_is_opened(tmp_path: Path, order: int) -> None:
    model, _ = model_of(tmp_path, drawn(order), order)
    save_ngram(model, tmp_path / "model.ngram")
    loaded = load_ngram(tmp_path / "model.ngram")
    opened = loaded.model
    assert (loaded.form, loaded.seconds > 0) == ("binary", True)
    assert (opened.order, opened.unit, opened.counts) == (model.order, model.unit, model.counts)
    assert list(opened.vocabulary) == list(model.vocabulary)
    assert [opened.vocabulary[word] for word in opened.vocabulary] == list(range(len(opened.vocabulary)))
    save_ngram(opened, tmp_path / "again.arpa")
    save_ngram(model, tmp_path / "model.arpa")
    assert (tmp_path / "again.arpa").read_bytes() == (tmp_path / "model.arpa").read_bytes()
    assert open_ngram(tmp_path / "model.arpa").counts == model.counts
    save_ngram(opened, tmp_path / "model.ngram")  # over the file that is mapped
    ask(opened)


def test_a_handle_keeps_the_model_alive(saved: tuple[NgramModel, Path, bytes]) -> None:
    native = open_binary(saved[1] / "model.ngram").model.native
    assert native.score(native.begin, 3) == saved[0].score(saved[0].start(), 3)


def test_every_cut_is_refused(saved: tuple[NgramModel, Path, bytes]) -> None:
    _, folder, content = saved
    path = folder / "cut.ngram"
    for size in [*range(0, 200, 7), *range(200, len(content), len(content) // 40), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"cut\.ngram: "):
            open_binary(path, verify=False)
    path.write_bytes(content + b"\0")
    with pytest.raises(DataError, match="something was added"):
        open_binary(path, verify=False)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), header=st.booleans())
def test_every_altered_byte_is_seen(
    saved: tuple[NgramModel, Path, bytes], place: float, change: int, header: bool
) -> None:
    _, folder, content = saved
    altered = bytearray(content)
    altered[int(place * (HEADER if header else len(content)))] ^= change
    (folder / "altered.ngram").write_bytes(altered)
    with pytest.raises(DataError, match=r"altered\.ngram"):
        open_binary(folder / "altered.ngram")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40),
    word=st.sampled_from(
        [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\x01\0\0\0", b"\0\0\xc0\x7f"]
    ),
)
def test_no_content_leads_a_query_astray(
    saved: tuple[NgramModel, Path, bytes], places: list[float], word: bytes
) -> None:
    """Without the checksum, wrong numbers give wrong answers, and neither a crash nor a walk without end."""
    _, folder, content = saved
    altered = bytearray(content)
    for place in places:
        start = HEADER + 4 * int(place * (len(content) - HEADER) / 4)
        altered[start : start + 4] = word
    (folder / "astray.ngram").write_bytes(altered)
    model = open_binary(folder / "astray.ngram", verify=False).model
    ask(model)
    write_arpa(model, folder / "astray.arpa")


def test_foreign_files_are_told(tmp_path: Path, saved: tuple[NgramModel, Path, bytes]) -> None:
    content = saved[2]
    path = tmp_path / "model.ngram"
    for wrong, told in [
        (b"", "empty"),
        (b"x" * 500, "does not begin as an n-gram model does"),
        (content[:8] + b"\x02" + content[9:], "version 2"),
    ]:
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=told):
            open_binary(path)
    with pytest.raises(DataError, match="no such file"):
        open_binary(tmp_path / "nowhere.ngram")
    with pytest.raises(DataError, match="cannot be compressed"):
        save_ngram(saved[0], tmp_path / "model.ngram.gz")
    with pytest.raises(DataError, match="cannot be written"):
        save_ngram(saved[0], tmp_path / "nowhere" / "model.ngram")
    assert list(tmp_path.iterdir()) == [path]


def test_checksums_do_not_depend_on_luck(saved: tuple[NgramModel, Path, bytes]) -> None:
    """Two words exchanged are seen as well as one altered."""
    _, folder, content = saved
    numbers = np.frombuffer(content, dtype=np.uint32).copy()
    for first, second in [(40, 48), (40, 41), (60, 61)]:
        swapped = numbers.copy()
        swapped[[first, second]] = swapped[[second, first]]
        if (swapped == numbers).all():
            continue
        (folder / "swapped.ngram").write_bytes(swapped.tobytes())
        with pytest.raises(DataError):
            open_binary(folder / "swapped.ngram")
