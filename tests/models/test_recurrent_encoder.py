"""RecurrentEncoder: directions and layers by single scans; a pyramid's places by hand."""

import pytest
import torch

from elman.errors import ConfigError
from elman.models.recurrent_encoder import RecurrentEncoder, in_pairs
from elman.scan import scan

LENGTHS = torch.tensor([5, 2, 1])


def test_layers_and_directions_are_scans_on_top_of_each_other() -> None:
    torch.manual_seed(1)
    encoder = RecurrentEncoder(2, 3, cell="lstm", layers=2).double()
    x = torch.randn(5, 3, 2, dtype=torch.float64)
    outputs, states = encoder(x, LENGTHS)
    for layer, row in enumerate(encoder.cells):
        ahead, last = scan(row[0], x, lengths=LENGTHS)
        behind, first = scan(row[1], x, lengths=LENGTHS, reverse=True)
        x = torch.cat([ahead, behind], -1)
        assert torch.equal(states[layer][0].c, last.c)
        assert torch.equal(states[layer][1].h, first.h)
    assert torch.equal(outputs.data, x)
    assert outputs.lengths.tolist() == LENGTHS.tolist()


def test_a_pyramid_halves_time_between_layers() -> None:
    """Each layer reads what the one below gives at places 2 t and 2 t + 1 of an element by itself."""
    torch.manual_seed(1)
    encoder = RecurrentEncoder(2, 3, layers=3, pyramid=True).double()
    x = torch.randn(5, 3, 2, dtype=torch.float64)
    outputs = encoder(x, LENGTHS).outputs
    assert outputs.lengths.tolist() == [2, 1, 1]
    for n, length in enumerate(LENGTHS.tolist()):
        own = x[:length, n : n + 1]
        for layer, row in enumerate(encoder.cells):
            if layer:
                places = [*own, *([torch.zeros_like(own[0])] if len(own) % 2 else [])]
                own = torch.stack([torch.cat(places[t : t + 2], -1) for t in range(0, len(places), 2)])
            sides = [scan(cell, own, reverse=side == 1)[0] for side, cell in enumerate(row)]
            own = torch.cat(sides, -1)
        found = outputs.data[: len(own), n : n + 1]
        assert float((found - own).detach().abs().max()) < 1e-14
        assert bool((outputs.data[len(own) :, n] == 0).all())


def test_pairs_of_places() -> None:
    x = torch.arange(6.0).reshape(3, 1, 2)
    assert in_pairs(x)[:, 0].tolist() == [[0, 1, 2, 3], [4, 5, 0, 0]]


def test_an_unknown_cell_is_told() -> None:
    with pytest.raises(ConfigError, match=r"cell: expected one of elman, .*, got 'tree'"):
        RecurrentEncoder(2, 3, cell="tree")
