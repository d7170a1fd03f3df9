"""What the tests of figures share: a figure as parsed SVG, and the colours of a page."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from elman.plots import style

SVG = "{http://www.w3.org/2000/svg}"


class Picture:
    """An SVG: its texts in order, alone and together, its style sheet, and all but that sheet."""

    def __init__(self, figure: Figure) -> None:
        self.source = style.render(figure, ".svg").decode("utf-8")
        self.root = ElementTree.fromstring(self.source)
        self.texts = ["".join(node.itertext()).strip() for node in self.root.iter(f"{SVG}text")]
        self.text = " ".join(self.texts)
        self.body = re.sub(r"<style.*?</style>", "", self.source, flags=re.DOTALL)
        self.sheet = "".join(node.text or "" for node in self.root.iter(f"{SVG}style"))


@pytest.fixture
def picture() -> Callable[[Figure], Picture]:
    return Picture
