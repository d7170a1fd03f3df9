"""From a source to its sequences, with a recurrent model: everything there is, batches, and limits."""

import itertools
from typing import Any

import pytest
import torch

from elman.errors import ConfigError
from elman.models.decoding import best_sequences, default_limits, sampled_sequences
from elman.models.seq2seq import Seq2Seq
from elman.padded import Padded
from elman.search.sampling import Sampling

TARGET, BEGIN, END = 4, 0, 1
SOURCE = Padded(torch.tensor([[3, 1, 2], [4, 2, 2], [0, 5, 0], [0, 1, 0]]), torch.tensor([2, 4, 1]))


def model(**options: Any) -> Seq2Seq:
    torch.manual_seed(1)
    made = Seq2Seq(6, TARGET, embedding=4, hidden=6, **options).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.5)
    return made


@pytest.mark.parametrize("attention", ["additive", None])
def test_the_best_sequence_is_the_best_of_all_by_teacher_forcing(attention: str | None) -> None:
    made = model(attention=attention)
    found = best_sequences(
        made, SOURCE, begin=BEGIN, stop=[END], length=3, beam=64, best=2, alpha=1.0, stopping="proved"
    )
    for n, hypotheses in enumerate(found):
        size = int(SOURCE.lengths[n])
        source = Padded(SOURCE.data[:size, n : n + 1], SOURCE.lengths[n : n + 1])
        scores = {}
        for ids in itertools.chain(
            *(itertools.product(range(TARGET), repeat=length) for length in (1, 2, 3))
        ):
            if END in ids[:-1] or (len(ids) < 3 and ids[-1] != END):
                continue
            inputs = torch.tensor([BEGIN, *ids[:-1]])[:, None]
            with torch.no_grad():
                logits = made(source, inputs, torch.tensor([len(ids)])).logits
            scores[ids] = float(logits.log_softmax(1).gather(1, torch.tensor(ids)[:, None]).sum()) / len(ids)
        ranked = sorted(scores, key=lambda ids: -scores[ids])
        assert [h.ids for h in hypotheses] == ranked[:2]
        for h in hypotheses:
            assert h.score == pytest.approx(scores[h.ids], abs=1e-12)
            if attention is None:
                assert h.attention is None
            else:
                assert h.attention is not None
                assert h.attention.shape == (len(h.ids), size)
                assert torch.allclose(h.attention.sum(1), torch.ones(len(h.ids)).double())


def test_limits_follow_from_the_source() -> None:
    made = model()
    with torch.no_grad():
        made.head.bias[END] = -1e4
    found = best_sequences(made, SOURCE, begin=BEGIN, stop=[END], beam=2)
    assert [len(h.ids) for (h,) in found] == default_limits(SOURCE.lengths).tolist() == [14, 18, 12]
    drawn = sampled_sequences(made, SOURCE, begin=BEGIN, stop=[END], sampling=Sampling())
    assert [len(h.ids) for (h,) in drawn] == [14, 18, 12]
    with pytest.raises(ConfigError, match="length: a source that is not a sequence needs a limit"):
        best_sequences(made, SOURCE.data, begin=BEGIN, stop=[END])


def test_greedy_drawing_takes_the_likeliest_each_time() -> None:
    made = model()
    found = sampled_sequences(made, SOURCE, begin=BEGIN, stop=[END], sampling=Sampling(0))
    for n, (h,) in enumerate(found):
        source = Padded(SOURCE.data[:, n : n + 1], SOURCE.lengths[n : n + 1])
        inputs = torch.tensor([BEGIN, *h.ids[:-1]])[:, None]
        with torch.no_grad():
            logits = made(source, inputs, torch.tensor([len(h.ids)])).logits
        assert h.ids == tuple(logits.argmax(1).tolist())
        assert h.stopped == (h.ids[-1] == END)
