"""Codecs: round trips for any text, symbols that are not known, and what a run folder keeps of them."""

import json
import string
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.data.codec import (
    END_OF_LINE,
    UNKNOWN,
    ByteCodec,
    CharacterCodec,
    Codec,
    WordCodec,
    codec_from_json,
)
from elman.errors import DataError

WORDS = st.text(alphabet="ab<>é.\n\t\u2028 ", max_size=40)


class TestBytes:
    @given(st.text())
    def test_any_text_is_its_utf8(self, text: str) -> None:
        codec = ByteCodec()
        ids = codec.encode(text)
        assert ids.dtype == torch.int64
        assert bytes(ids.tolist()) == text.encode()
        assert codec.decode(ids.tolist()) == text
        assert "".join(map(codec.decoder(), ids.tolist())) == text

    @given(st.binary())
    def test_bytes_that_are_no_text_stay_what_they_are(self, content: bytes) -> None:
        read = content.decode("utf-8", "surrogateescape")
        assert bytes(ByteCodec().encode(read).tolist()) == content

    @given(st.binary())
    def test_what_a_model_writes_can_always_be_shown(self, content: bytes) -> None:
        assert ByteCodec().decode(content) == content.decode("utf-8", "replace")

    def test_a_character_comes_with_its_last_byte(self) -> None:
        say = ByteCodec().decoder()
        assert [say(byte) for byte in "a€".encode()] == ["a", "", "", "€"]

    def test_half_a_surrogate_pair_is_named(self) -> None:
        with pytest.raises(DataError, match=r"prompt: line 2, column 3: '\\ud800' is half of a surrogate"):
            ByteCodec().encode("ok\nab\ud800", "prompt")

    def test_256_symbols_each_of_its_own_name(self) -> None:
        codec = ByteCodec()
        assert len(codec) == 256
        assert len(set(codec.symbols)) == 256
        assert (codec.symbols[65], codec.symbols[10], codec.symbols[255]) == ("A", "\\x0a", "\\xff")


class TestCharacters:
    @given(st.text(min_size=1), st.text())
    def test_any_text_round_trips(self, text: str, other: str) -> None:
        codec = CharacterCodec.of(text, other)
        assert codec.symbols == sorted(set(text) | set(other))
        for part in (text, other):
            ids = codec.encode(part)
            assert ids.dtype == torch.int64
            assert [codec.symbols[i] for i in ids.tolist()] == list(part)
            assert codec.decode(ids.tolist()) == part

    @given(st.text(), st.text(min_size=1))
    def test_the_first_unknown_symbol_is_named_with_its_place(self, known: str, text: str) -> None:
        codec = CharacterCodec.of(known)
        wrong = next((place for place, symbol in enumerate(text) if symbol not in known), None)
        if wrong is None:
            assert codec.decode(codec.encode(text).tolist()) == text
            return
        row = text[:wrong].count("\n")
        column = wrong - sum(len(line) + 1 for line in text[:wrong].split("\n")[:row])
        with pytest.raises(DataError) as caught:
            codec.encode(text, "some name")
        message = str(caught.value)
        assert message.startswith(
            f"some name: line {row + 1}, column {column + 1}: the symbol {text[wrong]!r} "
        )
        assert f"among the {len(codec)} that" in message

    def test_no_text_no_ids(self) -> None:
        assert CharacterCodec.of("ab").encode("").tolist() == []
        assert CharacterCodec.of("").encode("").tolist() == []

    def test_show_makes_visible(self) -> None:
        codec = CharacterCodec.of(" \n\tA\x00é\u2028")
        shown = {symbol: codec.show(index) for index, symbol in enumerate(codec.symbols)}
        expected = {
            " ": "␣",
            "\n": "\\n",
            "\t": "\\t",
            "A": "A",
            "\x00": "\\x00",
            "é": "é",
            "\u2028": "\\u2028",
        }
        assert shown == expected


class TestWords:
    def test_most_frequent_first_then_by_code(self) -> None:
        codec = WordCodec.of("b a c\nc a\n c d\n")
        assert codec.symbols == [END_OF_LINE, "c", "a", "b", "d"]
        assert codec.encode("a  c\n\tb").tolist() == [2, 1, 0, 3]
        assert codec.decode([2, 1, 0, 3]) == "a c\nb"

    @given(WORDS)
    def test_round_trip_but_for_the_white_space(self, text: str) -> None:
        codec = WordCodec.of(text)
        expected = "\n".join(" ".join(line.split()) for line in text.split("\n"))
        ids = codec.encode(text).tolist()
        assert codec.decode(ids) == expected
        assert sorted(set(ids)) == list(
            range(len(codec))
        )  # nothing is in the vocabulary that is not in the text

    @given(WORDS, st.integers(0, 8))
    def test_a_text_said_in_two_parts_is_the_text(self, text: str, cut: int) -> None:
        codec = WordCodec.of(text)
        ids = codec.encode(text).tolist()
        first, second = ids[:cut], ids[cut:]
        whole = codec.decode(first) + codec.decode(second, after=first[-1] if first else None)
        assert whole == codec.decode(ids)

    def test_a_line_that_does_not_end_has_no_end(self) -> None:
        assert WordCodec.of("a b").symbols == ["a", "b"]

    def test_documents_are_not_glued_together(self) -> None:
        codec = WordCodec.of("one two", "three\n")
        assert sorted(codec.symbols) == sorted(["one", "two", "three", END_OF_LINE])

    def test_rare_words_are_unknown(self) -> None:
        codec = WordCodec.of("a a b b c\n\n", minimum_count=2)
        assert codec.symbols == [UNKNOWN, END_OF_LINE, "a", "b"]
        assert codec.encode("a c zzz\n").tolist() == [2, 0, 0, 1]
        assert codec.decode([2, 0, 1]) == f"a {UNKNOWN}\n"

    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            (2, [UNKNOWN, "a"]),
            (3, [UNKNOWN, "a", "b"]),
            (4, ["a", "b", "c", "d"]),  # all fit, and none is unknown
            (9, ["a", "b", "c", "d"]),
        ],
    )
    def test_the_largest_vocabulary(self, size: int, expected: list[str]) -> None:
        assert WordCodec.of("a a a b b c d", maximum_size=size).symbols == expected

    @pytest.mark.parametrize("size", [2, 3, None])
    def test_unknown_in_the_text_is_the_symbol_itself(self, size: int | None) -> None:
        codec = WordCodec.of(f"a {UNKNOWN} b a", maximum_size=size)
        assert codec.symbols == [UNKNOWN, "a", "b"][:size]
        assert codec.encode(f"{UNKNOWN} new a").tolist() == [0, 0, 1]

    def test_a_word_that_is_not_known_is_named_with_its_line(self) -> None:
        with pytest.raises(DataError, match=r"my\.txt: line 2: the word 'c' is not among the 3 known"):
            WordCodec.of("a b\n").encode("a\nb c", "my.txt")


CODECS: list[Codec] = [
    ByteCodec(),
    CharacterCodec.of("žluťoučký kůň\n"),
    WordCodec.of("a rose is a rose\nis a flower\n", minimum_count=2),
]


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.unit)
def test_json_gives_the_same_codec_back(codec: Codec) -> None:
    again = codec_from_json(json.loads(json.dumps(codec.to_json())), "codec.json")
    assert type(again) is type(codec)
    assert again.symbols == codec.symbols
    text = "kůň žluť\n" if codec.unit != "words" else "a rose cries\n"
    assert again.encode(text).tolist() == codec.encode(text).tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a codec with unit bytes, characters, words"),
        ([1, 2], "expected a codec with unit"),
        ({}, "expected a codec with unit"),
        ({"unit": "syllables", "symbols": []}, "expected a codec with unit"),
        ({"unit": ["bytes"], "symbols": []}, "expected a codec with unit"),
        ({"unit": "words"}, "expected a list of strings"),
        ({"unit": "words", "symbols": "abc"}, "expected a list of strings"),
        ({"unit": "characters", "symbols": ["a", 2]}, "expected a list of strings"),
        ({"unit": "characters", "symbols": ["a", "bc"]}, "single characters"),
        ({"unit": "characters", "symbols": ["b", "a"]}, "sorted by code"),
        ({"unit": "characters", "symbols": ["a", "a"]}, "each once"),
        ({"unit": "words", "symbols": ["a", "b", "a"]}, "each word once"),
    ],
)
def test_a_foreign_codec_is_refused_by_name(content: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        codec_from_json(content, "run/codec.json")
    assert str(caught.value).startswith("run/codec.json: ")
    assert message in str(caught.value)


def test_symbols_are_shown_as_people_read_them() -> None:
    assert all(codec.show(i) for codec in CODECS for i in range(len(codec)))
    printable = ByteCodec()
    assert [printable.show(ord(c)) for c in string.ascii_letters] == list(string.ascii_letters)
