"""Weights of image encoders that were trained elsewhere, from a safetensors file that the user has.

Three ways of naming are known, each mapped name by name onto the encoder; a name that is missing, a name that
is left over and a shape that differs are errors:

    elman         the encoder's own names, as `save_encoder` writes them
    torchvision   ResNet-18 and -34 (conv1, bn1, layer1.0.conv1, ..., fc) with norms over batches, which need
                  an encoder with norm="frozen" and stem="large": gain = weight / sqrt(variance + 1e-5),
                  offset = bias - mean gain
    original      ConvNeXt of its authors (downsample_layers, stages.0.0.dwconv, ..., norm, head)

What classified images (fc, head) is left out; the map of places is elman's own, and keeps what was drawn
unless the file has it.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from elman.errors import DataError
from elman.models.image_encoder import FrozenNorm, ImageEncoder

PLACE = ("place.weight", "place.bias")
CLASSIFIERS = ("fc.weight", "fc.bias", "head.weight", "head.bias")
EPSILON = 1e-5
"""Of torch's norm over batches."""


def load_encoder(encoder: ImageEncoder, path: str | Path) -> None:
    """Puts the weights in a file into the encoder.

    Raises DataError naming file and key: unreadable, missing, left over, of another shape, not finite.
    """
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the name and the folder") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: cannot be read as safetensors: {error}") from error
    given = {name: values for name, values in tensors.items() if name not in CLASSIFIERS}
    if any(name.endswith("running_mean") for name in given):
        given = _folded(encoder, given, path)
    mine = dict(encoder.named_parameters())
    wanted = set(mine) - (set(PLACE) - set(given))
    if missing := sorted(wanted - set(given)):
        raise DataError(
            f"{path}: {missing[0]!r} is missing ({len(missing)} of {len(wanted)} in all); expected the "
            f"weights of a {type(encoder).__name__} of the same stages"
        )
    if foreign := sorted(set(given) - wanted):
        raise DataError(f"{path}: {foreign[0]!r} has no place in this {type(encoder).__name__}")
    with torch.no_grad():
        for name in sorted(wanted):
            values = given[name]
            if values.shape != mine[name].shape or not values.is_floating_point():
                raise DataError(
                    f"{path}: {name!r} is {values.dtype} {tuple(values.shape)}, expected floats "
                    f"{tuple(mine[name].shape)}"
                )
            if not bool(values.isfinite().all()):
                raise DataError(f"{path}: {name!r} has a value that is not finite")
            mine[name].copy_(values)


def save_encoder(encoder: ImageEncoder, path: str | Path) -> None:
    """Writes the encoder's weights by their own names, for another model to begin with."""
    save_file({name: values.detach().contiguous() for name, values in encoder.named_parameters()}, str(path))


def _folded(encoder: ImageEncoder, given: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Norms over batches as gains and offsets; raises DataError for an encoder that has other norms."""
    if not any(isinstance(module, FrozenNorm) for module in encoder.modules()):
        raise DataError(
            f"{path}: its norms are over batches, this encoder's are not; make it with norm=frozen, as in "
            f"model.encoder_options={{norm='frozen', stem='large'}}"
        )
    folded = {
        name: values
        for name, values in given.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    for name, mean in given.items():
        if not name.endswith("running_mean"):
            continue
        norm = name.removesuffix("running_mean")
        needed = [norm + part for part in ("weight", "bias", "running_var")]
        if absent := [key for key in needed if key not in given]:
            raise DataError(f"{path}: {absent[0]!r} is missing beside {name!r}")
        weight, bias, variance = (given[key].double() for key in needed)
        gain = weight / (variance + EPSILON).sqrt()
        folded[norm + "weight"] = gain.float()
        folded[norm + "bias"] = (bias - mean.double() * gain).float()
    return folded
