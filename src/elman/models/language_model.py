"""Recurrent language model: the next symbol from those before it.

    x_t = E[s_t]  (a learnt row, or one-hot)        y_t = stack(x_1 .. x_t)
    p(s_(t+1) | s_1 .. s_t) = softmax(W y_t + b)

Elman 1990; Mikolov et al., "Recurrent neural network based language model", 2010; regularised as in Zaremba,
Sutskever and Vinyals 2014 (dropout on what goes up, none on what goes on in time); tied weights: Press and
Wolf 2017.
Shapes: T time, N batch, V vocabulary, E embedding, H hidden. tokens (T, N) int64, logits (T, N, V).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from elman.cells import Cell, Stack, State
from elman.errors import ConfigError
from elman.scan import scan
from elman.streaming import Precision, Streamer, Symbols
from elman.tokens import Tokens


class LanguageModel(nn.Module):
    """Embedding (or one-hot where `embedding` is 0), a stack of cells, and a linear map to logits.

    tied: the output's weight is the embedding's, which must then have the size of the stack's output.
    Raises ConfigError where the sizes do not fit.
    """

    def __init__(
        self,
        vocabulary: int,
        cells: Sequence[Cell],
        *,
        embedding: int,
        tied: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
        compute: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.compute = compute
        self.stack = Stack(
            cells,
            dropout=dropout,
            dropout_in=dropout if embedding else 0.0,
            dropout_out=dropout,
            residual=residual,
        )
        if self.stack.input_size != (embedding or vocabulary):
            raise ConfigError(
                f"LanguageModel: the first cell takes {self.stack.input_size}, its input has "
                f"{embedding or vocabulary}"
            )
        self.embedding = nn.Embedding(vocabulary, embedding) if embedding else None
        self.head = nn.Linear(self.stack.output_size, vocabulary)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=embedding**-0.5)
        if tied:
            if self.embedding is None or embedding != self.stack.output_size:
                raise ConfigError(
                    f"tied: the embedding ({embedding or 'one-hot'}) must have the size of the output "
                    f"({self.stack.output_size}); set model.embedding to it, or model.tied=false"
                )
            self.head.weight = self.embedding.weight

    def initial_state(self, batch_size: int) -> State:
        """The zero state."""
        return self.stack.initial_state(batch_size)

    def reseed(self, seed: int) -> None:
        """Draws the next dropout masks from a new key."""
        self.stack.reseed(seed)

    def embed(self, tokens: Tensor) -> Tensor:
        """tokens (N,) -> (N, E or V)."""
        table = None if self.embedding is None else self.embedding.weight
        return Tokens(tokens[None], table).dense(self.vocabulary, self.head.weight)[0]

    def forward(
        self,
        tokens: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """tokens (T, N), state -> logits (T, N, V) of the symbol that follows each, state after the last."""
        outputs, state = scan(
            self.stack,
            Tokens(tokens, None if self.embedding is None else self.embedding.weight),
            state,
            lengths=lengths,
            resets=resets,
            compute=self.compute if self.training else None,
        )
        return self.head(outputs), state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One symbol of each stream: tokens (N,), state -> logits (N, V), state; the numbers of `forward`."""
        output, state = self.stack.step(self.embed(tokens), state)
        return self.head(output), state

    def stream(self, weights: Precision = "float32", *, instructions: str | None = None) -> Streamer:
        """The model with its weights packed for stepping symbol by symbol; see elman.streaming.

        Later changes of the weights are not seen. Raises what Streamer does.
        """
        embedding = None if self.embedding is None else self.embedding.weight
        symbols = Symbols(embedding, self.head.weight, self.head.bias)
        return Streamer(self.stack, symbols, weights=weights, instructions=instructions)

    def prior(self, batch_size: int) -> Tensor:
        """logits (N, V) before any symbol: those of the zero output, softmax(b)."""
        return self.head(
            torch.zeros(
                batch_size,
                self.stack.output_size,
                dtype=self.head.weight.dtype,
                device=self.head.weight.device,
            )
        )
