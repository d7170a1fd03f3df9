"""Captions: the three forms of file, what belongs together, and what is wrong by row."""

import gzip
from pathlib import Path

import pytest

from elman.data.captions import Caption, check_names, pair, read_captions, read_names
from elman.errors import DataError


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_two_columns(tmp_path: Path) -> None:
    table = read_captions(write(tmp_path / "c.tsv", "a.jpg\tA dog .\nb.png\tTwo cats\r\n"))
    assert table.captions == [Caption("a.jpg", "A dog .", 1), Caption("b.png", "Two cats", 2)]
    assert (table.lines.size, sum(table.skipped.values())) == (30, 0)


def test_a_header_says_which_columns(tmp_path: Path) -> None:
    text = "Image\tsplit\tCaption\na.jpg\ttest\tA dog .\n\n\n"
    assert read_captions(write(tmp_path / "c.tsv", text))[0] == [Caption("a.jpg", "A dog .", 2)]


def test_the_form_of_flickr_in_gzip(tmp_path: Path) -> None:
    path = write(tmp_path / "c.gz", gzip.compress(b"a.jpg#0\tA dog .\na.jpg#1\tA hound .\n"))
    assert [(c.image, c.text) for c in read_captions(path)[0]] == [
        ("a.jpg", "A dog ."),
        ("a.jpg", "A hound ."),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.jpg\tx\nb.jpg y\n", "line 2: 0 tabs, expected 1"),
        ("a.jpg\tx\ty\n", "line 1: 2 tabs, expected 1"),
        ("image\tx\na.jpg\ty\n", "line 1: expected one column named 'caption'"),
        ("image\tcaption\timage\n", "line 1: expected one column named 'image'"),
        ("image\tcaption\n", "no caption in it"),
        ("a.jpg\t \n", "line 1: an empty caption"),
        ("\tx\n", "line 1: an empty image name"),
        ("a.jpg\tx\n\nb.jpg\ty\n", "line 2: an empty line"),
        ("a.jpg\t" + "x" * 1001 + "\n", "line 1: a caption of 1,001 characters, expected at most 1,000"),
        ("", "the file is empty"),
        (b"a.jpg\tx\nb.jpg\t\xff\n", "line 2: byte 0xff at column 7 is not UTF-8"),
        (gzip.compress(b"a.jpg\tx\n")[:-6], "the gzip file is damaged"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str | bytes, told: str) -> None:
    path = write(tmp_path / "c.tsv", text)
    with pytest.raises(DataError, match=told) as caught:
        read_captions(path)
    assert str(path) in str(caught.value)


def test_rows_that_cannot_be_used_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = ["a\tx", "", "b y", "c\ty\tz", "d\t ", "\tx", "e\t" + "x" * 9, "f\t\xff", "g\tlast"]
    path = write(tmp_path / "c.tsv", "\n".join(rows).encode("latin-1") + b"\n\n")
    table = read_captions(path, skip=True, longest=8)
    assert [(caption.image, caption.row) for caption in table.captions] == [("a", 1), ("g", 9)]
    wanted = {"empty": 3, "without a tab": 1, "with more tabs": 1, "too long": 1, "not UTF-8": 1}
    assert table.skipped == wanted
    with pytest.raises(DataError, match=r"line 2: an empty line.*set data\.skip=true"):
        read_captions(path)


def test_a_list_names_what_is_there() -> None:
    check_names("l.txt", ["a", "b"], {"a", "b", "c"}, strict=True)
    check_names("l.txt", ["a", "x"], {"a"}, strict=False)
    with pytest.raises(
        DataError, match=r"l\.txt: 'x' is neither .*\(2 such names of 3\); .*data\.missing=skip"
    ):
        check_names("l.txt", ["a", "x", "y"], {"a"}, strict=True)
    with pytest.raises(
        DataError, match=r"l\.txt: 'x' is neither a picture nor has it a caption; mend the list$"
    ):
        check_names("l.txt", ["x"], {"a"}, strict=False)


def test_names(tmp_path: Path) -> None:
    assert read_names(write(tmp_path / "a", "b.jpg\n\nc.jpg\n"))[0] == ["b.jpg", "c.jpg"]
    with pytest.raises(DataError, match="no name in it"):
        read_names(write(tmp_path / "a", "\n"))
    with pytest.raises(DataError, match=r"'b.jpg' stands in it twice"):
        read_names(write(tmp_path / "a", "b.jpg\nc.jpg\nb.jpg\n"))


CAPTIONS = [Caption("a", "one", 1), Caption("x", "two", 2), Caption("b", "three", 3), Caption("a", "four", 4)]


def test_pairs_are_in_the_captions_order() -> None:
    paired = pair(CAPTIONS, ["b", "a", "x"], "c.tsv", "folder")
    assert [(one.image, [c.text for c in one.captions]) for one in paired.images] == [
        ("a", ["one", "four"]),
        ("x", ["two"]),
        ("b", ["three"]),
    ]
    assert (paired.texts, paired.missing, paired.uncaptioned) == ((), 0, 0)


def test_a_caption_for_a_missing_image() -> None:
    with pytest.raises(DataError, match=r"c.tsv: line 2: a caption for 'x', which is not in folder"):
        pair(CAPTIONS, ["a", "b"], "c.tsv", "folder")
    skipped = pair(CAPTIONS, ["a", "b"], "c.tsv", "folder", missing="skip")
    assert (len(skipped.images), skipped.texts, skipped.missing) == (2, (), 1)
    kept = pair(CAPTIONS, ["a", "b"], "c.tsv", "folder", missing="text")
    assert (kept.texts, kept.missing) == ((CAPTIONS[1],), 1)
    with pytest.raises(DataError, match="none of its 3 images is in folder"):
        pair(CAPTIONS, [], "c.tsv", "folder", missing="skip")


def test_an_image_without_a_caption() -> None:
    with pytest.raises(DataError, match=r"folder: no caption in c.tsv for 'y', 'z'"):
        pair(CAPTIONS, ["a", "b", "x", "z", "y"], "c.tsv", "folder")
    skipped = pair(CAPTIONS, ["a", "b", "x", "z", "y"], "c.tsv", "folder", uncaptioned="skip")
    assert (len(skipped.images), skipped.uncaptioned) == (3, 2)
