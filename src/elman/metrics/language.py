"""How well a language model predicts: nats, bits and perplexity per symbol.

nats = -(1 / n) sum_t ln p(x_t | x_<t)        bits = nats / ln 2        perplexity = exp(nats)
"""

import math
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """A sum of -ln p over a count of symbols; rates add."""

    total: float
    """In nats."""
    symbols: int

    def __add__(self, other: "Rate") -> "Rate":
        return Rate(self.total + other.total, self.symbols + other.symbols)

    @property
    def nats(self) -> float:
        """Per symbol; NaN where no symbol was predicted."""
        return self.total / self.symbols if self.symbols else math.nan

    @property
    def bits(self) -> float:
        """Per symbol."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """Infinite past the range of a float, NaN where no symbol was predicted."""
        return math.inf if self.nats > math.log(sys.float_info.max) else math.exp(self.nats)
