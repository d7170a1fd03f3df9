"""Text files: what is read, what is refused and in which words, and how documents become a corpus."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.data.codec import ByteCodec, CharacterCodec, WordCodec
from elman.data.text import Corpus, Document, encode_documents, read_document, split_corpus
from elman.errors import DataError

BOM = b"\xef\xbb\xbf"


def write(folder: Path, content: bytes, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def document(text: str, path: str = "some.txt") -> Document:
    return Document(path, text, "", len(text))


class TestRead:
    def test_text_size_and_checksum(self, tmp_path: Path) -> None:
        content = "Příliš žluťoučký\nkůň\n".encode()
        path = write(tmp_path, content)
        read = read_document(path, "characters")
        assert read.text == content.decode()
        assert read.to_json() == {
            "path": str(path), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()
        }  # fmt: skip

    @pytest.mark.parametrize("unit", ["characters", "words"])
    def test_a_byte_order_mark_and_carriage_returns_are_no_text(self, tmp_path: Path, unit: str) -> None:
        path = write(tmp_path, BOM + b"one\r\ntwo\rthree\r\n")
        assert read_document(path, unit).text == "one\ntwo\rthree\n"

    def test_bytes_are_left_as_they_are(self, tmp_path: Path) -> None:
        content = BOM + b"one\r\n\x00\xff\xfe" + bytes(range(256))
        read = read_document(write(tmp_path, content), "bytes")
        assert bytes(ByteCodec().encode(read.text).tolist()) == content

    @pytest.mark.parametrize("unit", ["bytes", "characters", "words"])
    def test_missing(self, tmp_path: Path, unit: str) -> None:
        with pytest.raises(DataError, match=r"nowhere\.txt: no such file"):
            read_document(tmp_path / "nowhere.txt", unit)

    @pytest.mark.parametrize("unit", ["bytes", "characters", "words"])
    def test_a_folder(self, tmp_path: Path, unit: str) -> None:
        with pytest.raises(DataError, match=r"this is a folder"):
            read_document(tmp_path, unit)

    @pytest.mark.parametrize("unit", ["bytes", "characters", "words"])
    def test_empty(self, tmp_path: Path, unit: str) -> None:
        with pytest.raises(DataError, match=r"text\.txt: the file is empty"):
            read_document(write(tmp_path, b""), unit)

    def test_nothing_but_a_byte_order_mark(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"text\.txt: nothing but a byte order mark"):
            read_document(write(tmp_path, BOM), "characters")

    def test_a_place_under_a_file_cannot_be_read(self, tmp_path: Path) -> None:
        path = write(tmp_path, b"text") / "more.txt"
        with pytest.raises(DataError, match=r"more\.txt: cannot be read: Not a directory"):
            read_document(path, "characters")

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
    def test_no_permission(self, tmp_path: Path) -> None:
        path = write(tmp_path, b"text")
        path.chmod(0)
        with pytest.raises(DataError, match=r"text\.txt: cannot be read: Permission denied"):
            read_document(path, "characters")

    def test_binary(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"text\.txt: a NUL byte at offset 3.*binary.*data\.unit=bytes"):
            read_document(write(tmp_path, b"abc\x00\xff"), "characters")

    @pytest.mark.parametrize(
        ("content", "row", "offset", "byte"),
        [
            (b"\xff", 1, 0, "0xff"),
            (b"one\ntwo\nthr\xe9e\n", 3, 11, "0xe9"),  # Latin-1
            ("kůň\n".encode() + b"\x80", 2, 6, "0x80"),
            (b"cut off \xe2\x82", 1, 8, "0xe2"),
            (BOM + b"ab\n\xff", 2, 6, "0xff"),
        ],
    )
    def test_badly_encoded(self, tmp_path: Path, content: bytes, row: int, offset: int, byte: str) -> None:
        assert content[offset] == int(byte, 16)
        with pytest.raises(DataError) as caught:
            read_document(write(tmp_path, content), "characters")
        assert f"text.txt: line {row}: byte {byte} at offset {offset} is not UTF-8; convert" in str(
            caught.value
        )

    @given(st.text(min_size=1).map(lambda text: text.replace("\x00", "0").replace("\ufeff", "-")))
    def test_what_was_written_is_read(self, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
        path = write(tmp_path_factory.mktemp("any"), text.encode())
        assert read_document(path, "characters").text == text.replace("\r\n", "\n")


class TestEncode:
    def test_documents_one_after_the_other(self) -> None:
        documents = [document("abc"), document("b"), document("ca")]
        corpus = encode_documents(documents, CharacterCodec.of("abc"))
        assert corpus.tokens.tolist() == [0, 1, 2, 1, 2, 0]
        assert corpus.starts.tolist() == [0, 3, 4]
        assert len(corpus) == 6

    @pytest.mark.parametrize(("symbols", "kind"), [(256, torch.uint8), (257, torch.int32)])
    def test_the_smallest_type_that_holds_the_vocabulary(self, symbols: int, kind: torch.dtype) -> None:
        text = "".join(map(chr, range(symbols)))
        corpus = encode_documents([document(text)], CharacterCodec.of(text))
        assert corpus.tokens.dtype == kind
        assert corpus.tokens.tolist() == list(range(symbols))

    def test_an_unknown_symbol_is_named_with_its_file(self) -> None:
        with pytest.raises(DataError, match=r"valid\.txt: line 1, column 2: the symbol 'z'"):
            encode_documents([document("ab"), document("az", "valid.txt")], CharacterCodec.of("ab"))

    def test_a_document_without_a_word(self) -> None:
        with pytest.raises(DataError, match=r"blank\.txt: no words in it"):
            encode_documents([document("a"), document("  \t ", "blank.txt")], WordCodec.of("a"))


class TestSplit:
    @given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
    def test_the_last_part_by_position(self, sizes: list[int], fraction: float) -> None:
        length = sum(sizes)
        starts = [sum(sizes[:row]) for row in range(len(sizes))]
        first, second = split_corpus(Corpus(torch.arange(length), torch.tensor(starts)), fraction)
        assert len(second) == round(length * fraction)
        assert torch.cat([first.tokens, second.tokens]).tolist() == list(range(length))
        cut = len(first)
        assert first.starts.tolist() == [start for start in starts if start < cut]
        # The second part begins a document of its own, wherever the cut fell.
        expected = sorted({0, *(start - cut for start in starts if start >= cut)}) if cut < length else []
        assert second.starts.tolist() == expected
