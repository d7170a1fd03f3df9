"""Subwords: any text comes back, training repeats itself, and a file is checked before it is used."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data import subwords
from elman.data.sequence_codec import SPECIAL
from elman.data.subwords import BYTE_OF, SMALLEST, SubwordCodec, sequence_codec_from_json
from elman.errors import ConfigError, DataError

library = pytest.importorskip("tokenizers", reason="needs elman[translation]")

CORPUS = [
    "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    "Mehrere Männer mit Schutzhelmen bedienen ein Antriebsradsystem.",
    "Ein kleines Mädchen klettert in ein Spielhaus aus Holz.",
    "Ein Mann in einem blauen Hemd steht auf einer Leiter und putzt ein Fenster.",
]
CODEC = SubwordCodec.train(CORPUS, 320)
LOWER = SubwordCodec.train(CORPUS, 320, lowercase=True)


class TestRoundTrip:
    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.booleans())
    def test_any_text_comes_back_normalised(self, text: str, lowercase: bool) -> None:
        codec = LOWER if lowercase else CODEC
        ids = codec.encode(text).tolist()
        assert codec.unknown not in ids
        assert codec.decode(ids) == codec.normalise(text)
        assert codec.decode([codec.begin, *ids, codec.end]) == codec.normalise(text)
        assert "".join(map(codec.decoder(), ids)) == codec.normalise(text)
        assert len(codec.split(text)) == len(ids)

    @pytest.mark.parametrize("text", ["<s>", "</s> <unk>", "a <s> b"])
    def test_a_text_cannot_say_a_special_symbol(self, text: str) -> None:
        ids = CODEC.encode(text).tolist()
        assert min(ids) >= len(SPECIAL)
        assert CODEC.decode(ids) == text

    def test_an_unfinished_character_is_shown_as_such(self) -> None:
        ids = CODEC.encode("Ü").tolist()
        assert CODEC.decode(ids[:-1]) == "\ufffd"
        assert [CODEC.show(index) for index in ids] == ["▁", "\\xc3", "\\x9c"]

    def test_pairs_that_were_frequent_are_one_symbol(self) -> None:
        assert "▁ein" in CODEC.split("ein Mann")
        assert len(CODEC) == 320

    def test_bytes_are_written_as_the_library_writes_them(self) -> None:
        assert set(BYTE_OF) == set(library.pre_tokenizers.ByteLevel.alphabet())
        decode = library.decoders.ByteLevel().decode
        for characters in (["Ġ", "a"], ["Ã", "ľ"], ["Ċ"], ["ð", "Ł", "Ļ", "Ĥ"]):
            assert bytes(BYTE_OF[one] for one in characters).decode() == decode(characters)


class TestTraining:
    def test_it_repeats_itself_in_another_process(self) -> None:
        code = (
            "import json, sys; from elman.data.subwords import SubwordCodec; "
            "print(json.dumps(SubwordCodec.train(json.load(sys.stdin), 320).to_json()))"
        )
        found = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(CORPUS), capture_output=True, text=True, check=True
        )
        assert json.loads(found.stdout) == CODEC.to_json()

    def test_too_few_symbols_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=rf"at least {SMALLEST} symbols \(every byte is one\), got 258"):
            SubwordCodec.train(CORPUS, 258)

    def test_without_the_library_the_command_that_installs_it_is_told(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(ConfigError, match=r'pip install "elman\[translation\]"'):
            SubwordCodec.train(CORPUS, 320)


class TestFile:
    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    def test_it_says_the_same_after_json(self, text: str) -> None:
        again = sequence_codec_from_json(json.loads(json.dumps(LOWER.to_json())), "codec.json")
        assert isinstance(again, SubwordCodec)
        assert again.encode(text).tolist() == LOWER.encode(text).tolist()
        assert again.to_json() == LOWER.to_json()

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            ("merges", None, "a list of pairs of strings under 'merges'"),
            ("merges", [["a"]], "a list of pairs of strings under 'merges'"),
            ("merges", [["a", 1]], "a list of pairs of strings under 'merges'"),
            ("merges", [["a", "qqq"]], r"the merge \['a', 'qqq'\] is of symbols"),
            ("merges", [["q", "z"]], r"the merge \['q', 'z'\] is of symbols"),
            ("symbols", [*SPECIAL, "a"], "a symbol for each of the 256 bytes"),
            (
                "symbols",
                [*CODEC.symbols, "ab cd"],
                "the symbol 'ab cd' .* is not written in bytes",
            ),
            ("symbols", [*CODEC.symbols, ""], "is not written in bytes|a symbol for each"),
        ],
    )
    def test_a_damaged_one_is_named(self, key: str, value: Any, told: str) -> None:
        with pytest.raises(DataError, match=rf"^codec\.json: .*{told}"):
            sequence_codec_from_json({**CODEC.to_json(), key: value}, "codec.json")

    def test_all_units_are_in_the_table(self) -> None:
        assert all(kind.unit == unit for unit, kind in subwords.SEQUENCE_CODECS.items())
