"""Weights from elsewhere: the published ResNet's numbers, and every name and shape that does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from elman.errors import DataError
from elman.models.image_encoder import ConvNeXt, ResNet
from elman.models.image_weights import load_encoder, save_encoder
from image_oracles import Published, published


def write(path: Path, model: torch.nn.Module, **changed: torch.Tensor | None) -> Path:
    tensors = {k: v.clone().contiguous() for k, v in model.state_dict().items()}
    for name, values in changed.items():
        name = name.replace("__", ".")
        if values is None:
            del tensors[name]
        else:
            tensors[name] = values
    save_file(tensors, path)
    return path


def frozen() -> ResNet:
    return ResNet(3, (8, 12), (1, 1), stem="large", norm="frozen")


def test_a_published_resnet_gives_its_own_numbers(tmp_path: Path) -> None:
    """Against torch's norms over batches, in use."""
    model, encoder = published(), frozen()
    place = encoder.place.weight.detach().clone()
    load_encoder(encoder, write(tmp_path / "w.safetensors", model))
    images = torch.rand(2, 3, 37, 50)
    assert torch.allclose(encoder.maps(images), model(images), atol=1e-4)
    assert torch.equal(encoder.place.weight, place)


@pytest.mark.parametrize("kind", ["resnet", "convnext"])
def test_own_weights_come_back(tmp_path: Path, kind: str) -> None:
    made = [ResNet(1, (4, 8), (1, 1)) if kind == "resnet" else ConvNeXt(1, (4, 8), (1, 1)) for _ in range(2)]
    save_encoder(made[0], tmp_path / "w.safetensors")
    load_encoder(made[1], tmp_path / "w.safetensors")
    images = torch.rand(1, 1, 16, 16)
    assert torch.equal(made[0](images).data, made[1](images).data)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"layer2__0__conv1__weight": None}, "'layer2.0.conv1.weight' is missing"),
        ({"layer2__0__bn1__running_var": None}, "'layer2.0.bn1.running_var' is missing beside"),
        ({"layer3__0__conv1__weight": torch.zeros(1)}, "'layer3.0.conv1.weight' has no place"),
        ({"conv1__weight": torch.zeros(8, 3, 3, 3)}, r"'conv1.weight' is torch.float32 \(8, 3, 3, 3\)"),
        ({"conv1__weight": torch.zeros(8, 3, 7, 7, dtype=torch.int32)}, "expected floats"),
        ({"conv1__weight": torch.full((8, 3, 7, 7), torch.nan)}, "not finite"),
    ],
)
def test_a_key_that_does_not_fit_is_named(
    tmp_path: Path, changed: dict[str, torch.Tensor | None], told: str
) -> None:
    path = write(tmp_path / "w.safetensors", Published((8, 12)), **changed)
    encoder = frozen()
    with pytest.raises(DataError, match=told) as caught:
        load_encoder(encoder, path)
    assert str(path) in str(caught.value)


def test_norms_over_batches_need_frozen_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", published())
    with pytest.raises(DataError, match="its norms are over batches"):
        load_encoder(ResNet(3, (8, 12), (1, 1), stem="large"), path)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_encoder(frozen(), tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_text("text")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        load_encoder(frozen(), tmp_path / "w.safetensors")
