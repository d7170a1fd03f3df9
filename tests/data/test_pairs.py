"""Pairs come as they were written, and everything that is wrong is named by file and row."""

import gzip
from pathlib import Path

import pytest

from elman.data import pairs as reading
from elman.data.pairs import read_pairs
from elman.errors import ConfigError, DataError


def written(folder: Path, **files: bytes | str) -> list[str]:
    """Files named by their keywords, "_" for the dot; their paths."""
    paths = []
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(str(path))
    return paths


def texts(paths: list[str], skip: bool = False) -> list[tuple[str, str]]:
    return [(pair.source, pair.target) for pair in read_pairs(paths, skip).pairs]


class TestReading:
    def test_two_files_stand_line_by_line_beside_each_other(self, tmp_path: Path) -> None:
        paths = written(
            tmp_path, a_de="Ein Hund.\r\nZwei\u2028Hunde.\r\n", a_en_gz=gzip.compress(b"A dog.\nTwo")
        )
        assert texts(paths) == [("Ein Hund.", "A dog."), ("Zwei\u2028Hunde.", "Two")]

    def test_tables_are_read_one_after_the_other(self, tmp_path: Path) -> None:
        paths = written(tmp_path, a_tsv="x\ty\n", b_tsv_gz=gzip.compress(b"\xef\xbb\xbfz\tw\n"))
        found = read_pairs(paths)
        assert [(pair.source, pair.target) for pair in found.pairs] == [("x", "y"), ("z", "w")]
        assert found.pairs[1].source_place == f"{paths[1]}: line 1"
        assert [file["path"] for file in found.files] == paths

    def test_a_single_file_is_a_table_whatever_its_name(self, tmp_path: Path) -> None:
        assert texts(written(tmp_path, pairs_txt="x\ty")) == [("x", "y")]

    @pytest.mark.parametrize("names", [[], ["a.tsv", "b.en"], ["a", "b", "c"]])
    def test_other_files_are_refused_by_name(self, names: list[str]) -> None:
        with pytest.raises(ConfigError, match=rf"two files that stand line by line.*got {len(names)} files"):
            read_pairs(names)


ROWS = {
    "without a tab": ("x\ty\nno tab\n", r"a\.tsv: line 2: no tab in 'no tab', expected source TAB target"),
    "with too many tabs": ("x\ty\nx\ty\tz\n", r"line 2: 2 tabs in 'x\\ty\\tz', expected one"),
    "empty": ("x\ty\n\n", r"line 2: the line is empty"),
    "with an empty source": ("x\ty\n \ty\n", r"line 2: the source is empty"),
    "with an empty target": ("x\ty\nx\t\n", r"line 2: the target is empty"),
    "not UTF-8": (b"x\ty\nab\xff\ty\n", r"line 2: byte 0xff at column 3 is not UTF-8"),
}


class TestWrongRows:
    @pytest.mark.parametrize("reason", ROWS)
    def test_a_row_is_named(self, tmp_path: Path, reason: str) -> None:
        content, told = ROWS[reason]
        with pytest.raises(DataError, match=rf"{told}.*data\.skip=true"):
            read_pairs(written(tmp_path, a_tsv=content))

    @pytest.mark.parametrize("reason", ROWS)
    def test_it_is_left_out_where_asked_and_counted(self, tmp_path: Path, reason: str) -> None:
        found = read_pairs(written(tmp_path, a_tsv=ROWS[reason][0]), skip=True)
        assert [(pair.source, pair.target) for pair in found.pairs] == [("x", "y")]
        assert found.skipped == {reason: 1}

    def test_an_empty_line_of_two_files_is_named_in_its_own(self, tmp_path: Path) -> None:
        paths = written(tmp_path, a_de="x\ny\n", a_en="x\n \n")
        with pytest.raises(DataError, match=r"a\.en: line 2: the target is empty"):
            read_pairs(paths)
        assert read_pairs(paths, skip=True).skipped == {"with an empty target": 1}

    def test_long_lines_are_not_quoted_whole(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no tab in 'x{37}\.\.\.',"):
            read_pairs(written(tmp_path, a_tsv="x" * 10_000))

    def test_nothing_left_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.tsv: no pair in it"):
            read_pairs(written(tmp_path, a_tsv="x\n"), skip=True)


class TestWrongFiles:
    @pytest.mark.parametrize("skip", [False, True])
    def test_unequal_counts_are_both_told_with_the_first_odd_line(self, tmp_path: Path, skip: bool) -> None:
        paths = written(tmp_path, a_de="eins\n\nzwei\ndrei\n", a_en="one\ntwo\nthree")
        with pytest.raises(
            DataError,
            match=r"a\.de has 4 lines and \S*a\.en 3, expected as many; the first without a partner is "
            r"\S*a\.de: line 4: 'drei'; look at the empty line 2 of \S*a\.de",
        ):
            read_pairs(paths, skip)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "the file is empty"),
            (b"x\ty\nx\0y", r"a NUL byte at offset 5 of the text"),
            ("x\ty\n".encode("utf-16"), r"a NUL byte at offset 3"),
            (gzip.compress(b"x\ty\n" * 99)[:-9], r"the gzip file is damaged: Compressed file ended"),
            (gzip.compress(b"x\ty\n" * 99)[:-6] + b"123456", r"damaged: CRC check failed"),
            (gzip.compress(b"x\ty\n")[:10] + b"\xff" * 9, r"the gzip file is damaged"),
        ],
    )
    def test_a_damaged_file_is_named(self, tmp_path: Path, content: bytes, told: str) -> None:
        with pytest.raises(DataError, match=rf"a\.tsv: .*{told}"):
            read_pairs(written(tmp_path, a_tsv=content), skip=True)

    def test_a_file_that_only_is_named_gz(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.tsv\.gz: this is no gzip file, though it is named \.gz"):
            read_pairs(written(tmp_path, a_tsv_gz=b"x\ty\n"))

    def test_a_small_file_does_not_unpack_to_more_than_the_limit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "LARGEST", 1000)
        paths = written(tmp_path, a_tsv=gzip.compress(b"x\ty\n" * 251))
        with pytest.raises(DataError, match=r"a\.tsv: \d+ bytes unpack to more than 1,000"):
            read_pairs(paths)
        assert len(read_pairs(written(tmp_path, b_tsv=gzip.compress(b"x\ty\n" * 250)))) == 250

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"nowhere\.tsv: no such file"):
            read_pairs([tmp_path / "nowhere.tsv"])
