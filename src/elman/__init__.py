"""elman: recurrent sequence models on PyTorch. Train on your own data, decode, stream, look inside.

layers      elman.RNN, elman.LSTM, elman.GRU in place of torch.nn's; elman.Bidirectional
cells       elman.Cell to write your own, elman.cells for ours; elman.scan runs one over a batch of sequences
writing     elman.Seq2Seq, elman.Transformer; elman.best_sequences, elman.sampled_sequences search them
streams     elman.Streamer steps cells with packed weights, symbol by symbol
lattices    elman.CRF; elman.CategoricalHMM, GaussianHMM, MixtureHMM, MultinomialHMM
runs        elman.load a trained model, elman.evaluate it; `from elman.train import train` makes one
talk        elman.open_chat with a model; elman.Reranker, elman.MutualInformation choose among its answers
"""

from importlib.metadata import version

from elman.cells import Cell, Stack
from elman.errors import ElmanError
from elman.lattice.crf import CRF
from elman.lattice.ctc import ctc_loss
from elman.lattice.ctc_align import ctc_align
from elman.lattice.ctc_batch import check_targets
from elman.lattice.hmm_discrete import CategoricalHMM, MultinomialHMM
from elman.lattice.hmm_gaussian import GaussianHMM, MixtureHMM
from elman.layers import GRU, LSTM, RNN, Bidirectional
from elman.models.decoding import best_sequences, sampled_sequences
from elman.models.seq2seq import Seq2Seq
from elman.models.transformer import Transformer
from elman.padded import Padded
from elman.predict import evaluate, load
from elman.scan import choose, scan
from elman.search.reranking import MutualInformation
from elman.search.sampling import Sampling
from elman.streaming import Streamer, Symbols
from elman.tasks.chat import ChatSettings, open_chat
from elman.tasks.dialogue_predictor import Reranker
from elman.tokens import Tokens

__version__ = version("elman")

__all__ = [
    "CRF",
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "CategoricalHMM",
    "Cell",
    "ChatSettings",
    "ElmanError",
    "GaussianHMM",
    "MixtureHMM",
    "MultinomialHMM",
    "MutualInformation",
    "Padded",
    "Reranker",
    "Sampling",
    "Seq2Seq",
    "Stack",
    "Streamer",
    "Symbols",
    "Tokens",
    "Transformer",
    "best_sequences",
    "check_targets",
    "choose",
    "ctc_align",
    "ctc_loss",
    "evaluate",
    "load",
    "open_chat",
    "sampled_sequences",
    "scan",
]
