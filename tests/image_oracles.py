"""A residual network as it is published, in torch's own modules: what a loader of its weights must equal."""

import torch
from torch import Tensor, nn


class Published(nn.Module):
    """A ResNet of basic blocks in torch's modules, with norms over batches, as it is published."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        for stage, (below, width) in enumerate(zip((widths[0], *widths[:-1]), widths, strict=True), 1):
            block = nn.Module()
            stride = 1 if stage == 1 else 2
            block.conv1 = nn.Conv2d(below, width, 3, stride, 1, bias=False)
            block.bn1 = nn.BatchNorm2d(width)
            block.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            block.bn2 = nn.BatchNorm2d(width)
            if stage > 1:
                block.downsample = nn.Sequential(
                    nn.Conv2d(below, width, 1, stride, bias=False), nn.BatchNorm2d(width)
                )
            self.add_module(f"layer{stage}", nn.Sequential(block))
        self.fc = nn.Linear(widths[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(images)).relu(), 3, 2, 1)
        for stage in ("layer1", "layer2"):
            (block,) = self.get_submodule(stage)  # pyrefly: ignore
            y = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
            x = (y + (block.downsample(x) if stage == "layer2" else x)).relu()
        return x


def published() -> Published:
    torch.manual_seed(3)
    model = Published((8, 12))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()  # pyrefly: ignore
            module.running_var.uniform_(0.2, 2.0)  # pyrefly: ignore
    return model.eval()
