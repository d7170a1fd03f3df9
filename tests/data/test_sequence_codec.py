"""Words and characters with begin, end and unknown: exact round trips, and files that are checked."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.sequence_codec import SPECIAL, SequenceCharacters, SequenceCodec, SequenceWords, normalise
from elman.data.subwords import SubwordCodec, sequence_codec_from_json
from elman.errors import DataError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


class TestNormalise:
    @given(TEXTS)
    def test_composed_with_single_spaces(self, text: str) -> None:
        found = normalise(text, lowercase=False)
        assert found == unicodedata.normalize("NFC", found)
        assert found.split(" ") == found.split() or not found
        assert normalise(found, lowercase=False) == found

    def test_in_words(self) -> None:
        assert normalise(" Ein\u00a0 Cafe\u0301\n", lowercase=False) == "Ein Café"
        assert normalise("ÄÖ İ", lowercase=True) == "äö i̇"


@pytest.mark.parametrize("kind", [SequenceWords, SequenceCharacters])
class TestCodec:
    @given(TEXTS, st.booleans())
    def test_what_is_known_comes_back(
        self, kind: type[SequenceWords | SequenceCharacters], text: str, lowercase: bool
    ) -> None:
        codec = kind.train([text], 1000, lowercase)
        ids = codec.encode(text).tolist()
        assert len(ids) == len(codec.split(text))
        if not set(SPECIAL) & set(codec.split(text)):
            assert codec.unknown not in ids
            assert codec.decode(ids) == codec.normalise(text)
            assert codec.decode([codec.begin, *ids, codec.end]) == codec.normalise(text)
        again = sequence_codec_from_json(json.loads(json.dumps(codec.to_json())), "codec.json")
        assert again.encode(text).tolist() == ids
        assert again.to_json() == codec.to_json()

    @given(TEXTS, TEXTS)
    def test_what_is_unknown_is_so(
        self, kind: type[SequenceWords | SequenceCharacters], known: str, text: str
    ) -> None:
        codec = kind.train([known], 1000)
        names = set(codec.split(known)) - set(SPECIAL)
        for symbol, index in zip(codec.split(text), codec.encode(text).tolist(), strict=True):
            assert codec.symbols[index] == (symbol if symbol in names else "<unk>")


class TestSize:
    def test_the_most_frequent_are_kept(self) -> None:
        words = SequenceWords.train(["b a b c", "c b d"], 5)
        assert words.symbols == [*SPECIAL, "b", "c"]
        characters = SequenceCharacters.train(["cba cb c"], 5)
        assert characters.symbols == [*SPECIAL, " ", "c"]

    def test_special_symbols_in_a_text_are_unknown_words(self) -> None:
        codec = SequenceWords.train(["<s> a </s> <unk>"], 100)
        assert codec.symbols == [*SPECIAL, "a"]
        assert codec.encode("<s> a </s>").tolist() == [codec.unknown, 3, codec.unknown]


WRONG: list[tuple[Any, str]] = [
    ([], "expected a codec with unit subwords, words, characters"),
    ({"unit": "os.system"}, "expected a codec with unit"),
    ({"unit": "words", "lowercase": False}, "a list of strings under 'symbols'"),
    ({"unit": "words", "lowercase": False, "symbols": [1]}, "a list of strings under 'symbols'"),
    ({"unit": "words", "symbols": [*SPECIAL]}, "true or false under 'lowercase', got None"),
    ({"unit": "words", "lowercase": False, "symbols": ["a", *SPECIAL]}, "<s>, </s>, <unk> first"),
    ({"unit": "words", "lowercase": False, "symbols": [*SPECIAL, "a", "a"]}, "each symbol once"),
    ({"unit": "characters", "lowercase": False, "symbols": [*SPECIAL, "ab"]}, "single characters"),
]


@pytest.mark.parametrize(("content", "told"), WRONG)
def test_a_damaged_file_is_named(content: Any, told: str) -> None:
    with pytest.raises(DataError, match=rf"^codec\.json: .*{told}"):
        sequence_codec_from_json(content, "codec.json")


def test_bytes_that_are_not_utf8_are_named() -> None:
    codec: SequenceCodec = SequenceWords.train(["a"], 9)
    with pytest.raises(DataError, match=r"^row 7: '\\udcff' at character 2 is half of a surrogate pair"):
        codec.encode_all(["a", "a\udcff"], lambda row: f"row {row + 6}")


class TestExtended:
    def test_unknown_words_of_a_text_get_numbers_and_come_back(self) -> None:
        codec = SequenceWords.train(["a b a b"], 5)
        text = "b Xaver a <s> Xaver"
        words = codec.unknown_words(text)
        assert words == ("Xaver", "<s>")
        more = codec.extended(words)
        assert more.encode(text).tolist() == [4, 5, 3, 6, 5]
        assert more.decode([4, 5, 3, 6, 5]) == text
        assert more.encode("Yves a").tolist() == [codec.unknown, 3]
        assert codec.encode(text).tolist() == [4, 2, 3, 2, 2], "the codec itself is as before"
        assert (len(codec), codec.extended(())) == (5, codec)

    def test_characters_too(self) -> None:
        codec = SequenceCharacters.train(["ab"], 9)
        assert codec.unknown_words("a ñb") == (" ", "ñ")
        assert codec.extended([" ", "ñ"]).decode([3, 5, 6]) == "a ñ"

    def test_subwords_know_everything(self) -> None:
        pytest.importorskip("tokenizers", reason="needs elman[translation]")
        codec = SubwordCodec.train(["a b"], 259)
        assert codec.unknown_words("Xaver ñ") == ()
        with pytest.raises(DataError, match="subwords: no symbol is unknown to this codec, got Xaver"):
            codec.extended(["Xaver"])
