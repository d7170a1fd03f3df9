"""What csrc/bindings exports, for the type checker; only elman.kernels imports it."""

from collections.abc import Callable, Sequence

import numpy as np

def version() -> str: ...
def compiler() -> str: ...
def instruction_sets() -> list[str]: ...
def scan_kernels() -> list[str]: ...
def fma_peak(kernels: str, threads: int) -> float: ...
def scan_bf16_kernels() -> list[str]: ...
def dropout(
    values: int,
    target: int,
    steps: int,
    rows: int,
    batch: int,
    units: int,
    key: int,
    threshold: int,
    scale: float,
    threads: int,
    kernels: str,
) -> None: ...
def stream_kernels() -> list[str]: ...
def pooled(numbers: int) -> np.ndarray: ...
def ctc_kernels() -> list[str]: ...
def dropout_kernels() -> list[str]: ...
def loss_kernels() -> list[str]: ...
def symbol_loss(
    logits: int,
    gradient: int,
    targets: int,
    nats: int,
    spread: int,
    rows: int,
    symbols: int,
    half: bool,
    smoothing: float,
    scale: float,
    threads: int,
    kernels: str,
) -> None: ...
def ctc_sound(sizes: list[int], targets: int, frames: int, lengths: int) -> bool: ...
def ctc_loss(
    sizes: list[int],
    logits: int,
    targets: int,
    frames: int,
    lengths: int,
    loss: int,
    gradient: int,
    scale: float,
    smoothing: float,
    threads: int,
    kernels: str,
) -> None: ...
def ctc_align(
    sizes: list[int],
    scores: int,
    targets: int,
    frames: int,
    lengths: int,
    path: int,
    threads: int,
    kernels: str,
) -> None: ...

class ScanPlan:
    def __init__(self, numbers: list[int], constants: list[float]) -> None: ...

class ScanSaved:
    def floats(self) -> int: ...

def scan_forward(
    plan: ScanPlan,
    time: int,
    size: int,
    threads: int,
    reverse: bool,
    lengths: int,
    columns: list[int],
    ids: int,
    symbols: int,
    half: bool,
    units: bool,
    places: list[int],
    kernels: str,
    inputs: list[int],
    weights: list[int],
    biases: list[int],
    params: list[int],
    memories: list[int],
    states: list[int],
    output: int,
    final_states: list[int],
) -> ScanSaved: ...
def scan_backward(
    plan: ScanPlan,
    saved: ScanSaved,
    inputs: list[int],
    weights: list[int],
    params: list[int],
    d_output: int,
    d_final: list[int],
    d_inputs: list[int],
    d_weights: list[int],
    d_biases: list[int],
    d_params: list[int],
    d_memories: list[int],
    d_states: list[int],
) -> None: ...

class StepMemory: ...

class Stepper:
    def __init__(
        self,
        plan: ScanPlan,
        kernels: str,
        half: bool,
        columns: list[int],
        weights: list[int],
        biases: list[int],
        params: list[int],
        symbols: int,
        head_weight: int,
        head_bias: int,
    ) -> None: ...
    def memory(self, sources: int, places: int, keys: int, bias: int, values: int) -> StepMemory: ...
    def step(
        self,
        rows: int,
        threads: int,
        units: bool,
        memory: StepMemory | None,
        source: int,
        inputs: list[int],
        states: list[int],
        output: int,
        logits: int,
        final_states: list[int],
        weights: int,
    ) -> None: ...

def search_kernels() -> list[str]: ...
def likeliest(
    logits: int,
    rows: int,
    count: int,
    keep: int,
    stop: int,
    stop_count: int,
    values: int,
    places: int,
    threads: int,
    kernels: str,
) -> None: ...

class NgramModel: ...

class Lexicon:
    def __init__(
        self, spellings: list[int], offsets: list[int], word_of: list[int], words: int, separator: int
    ) -> None: ...
    def size(self) -> int: ...
    def most_edges(self) -> int: ...

class Found:
    symbols: list[int]
    words: list[int]
    starts: list[int]
    ends: list[int]
    confidences: list[float]
    score: float

class Request:
    parent: int
    unit: int
    row: int

class Decoder:
    def __init__(
        self,
        classes: int,
        beam: int,
        kept: int,
        least: float,
        alpha: float,
        beta: float,
        times: bool,
        symbol_model: bool,
        external: int,
        lexicon: Lexicon | None,
        model: NgramModel | None,
        units: list[int],
        looks: list[float],
        weights: list[float],
        next: list[int],
        last: list[float],
        kernels: str,
    ) -> None: ...

class BeamSingle:
    def __init__(self, decoder: Decoder) -> None: ...
    def advance(self, x: int, frames: int, stride: int) -> None: ...
    def requests(self) -> list[Request]: ...
    def supply(self, rows: int) -> None: ...
    def endings(self) -> list[Request]: ...
    def best(self, count: int, whole: bool, ends: list[float]) -> list[Found]: ...
    def frames(self) -> int: ...

class BeamTwofold(BeamSingle): ...

def beam_decode(
    decoder: Decoder,
    addresses: list[int],
    frames: list[int],
    stride: int,
    count: int,
    threads: int,
    twofold: bool,
) -> list[list[Found]]: ...
def beam_bad_frame(x: int, frames: int, stride: int, classes: int, twofold: bool) -> int: ...

class NgramImage:
    address: int
    size: int
    def seal(self) -> None: ...

class NgramView(NgramModel):
    order: int
    unit: int
    words: int
    contexts: int
    counts: list[int]
    begin: int
    def __init__(self, owner: object, address: int, size: int) -> None: ...
    def score(self, node: int, word: int) -> tuple[float, int]: ...
    def score_many(self, nodes: int, words: int, count: int, log_probs: int, next_nodes: int) -> None: ...
    def distribution(self, node: int, log_probs: int) -> None: ...
    def id(self, text: bytes) -> int: ...
    def text(self, word: int) -> bytes: ...
    def encode(self, line: bytes) -> list[int]: ...
    def score_lines(self, text: bytes) -> list[tuple[float, float, int, int, int]]: ...

class NgramWordCounter:
    words: int
    def __init__(self, unit: int) -> None: ...
    def feed(self, piece: bytes) -> None: ...
    def finish(self) -> None: ...
    def frequent(self, most: int, least: int) -> list[bytes]: ...

class NgramOrderReport:
    found: int
    kept: int
    adjusted: list[int]
    discounts: list[float]
    fallback: str

class NgramEstimator:
    sentences: int
    words: int
    unknown: int
    distinct: int
    runs: int
    report: list[NgramOrderReport]
    def __init__(
        self, order: int, unit: int, closed: list[bytes] | None, memory: int, folder: str
    ) -> None: ...
    def feed(self, piece: bytes) -> None: ...
    def finish(self) -> None: ...
    def estimate(self, thresholds: list[int], progress: Callable[[float], None]) -> NgramImage: ...

class NgramArpaReader:
    line: int
    remarks: list[str]
    def __init__(self, unit: int) -> None: ...
    def feed(self, piece: bytes) -> None: ...
    def finish(self, progress: Callable[[float], None]) -> NgramImage: ...

class NgramArpaWriter:
    done: float
    def __init__(self, view: NgramView) -> None: ...
    def next(self) -> bytes: ...

def ngram_check(address: int, size: int, contents: bool) -> None: ...
def ngram_prune(image: NgramImage, threshold: float, progress: Callable[[float], None]) -> NgramImage: ...

class StreamCell:
    def __init__(
        self,
        plan: ScanPlan,
        input: int,
        output: int,
        residual: bool,
        weights: list[int],
        biases: list[int],
        params: list[int],
    ) -> None: ...

class StreamNet:
    def __init__(
        self,
        kernels: str,
        precision: str,
        cells: list[StreamCell],
        vocabulary: int,
        embedding: int,
        table: int,
        head_weight: int,
        head_bias: int,
    ) -> None: ...
    @property
    def bytes(self) -> int: ...
    def run(
        self,
        time: int,
        streams: int,
        tokens: int,
        inputs: int,
        states: list[int],
        outputs: int,
        threads: int,
        seconds: float,
    ) -> int: ...
    def generate(
        self,
        count: int,
        streams: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        start: int,
        stop: int,
        states: list[int],
        logits: int,
        done: int,
        ids: int,
        log_probs: int,
        threads: int,
        seconds: float,
    ) -> tuple[int, int]: ...

def chain_kernels() -> list[str]: ...

class ChainScores:
    def __init__(
        self,
        states: int,
        chains: int,
        threads: int,
        rows: int,
        wide: bool,
        row_count: int,
        index: int,
        first: int,
        lengths: int,
        step: int,
        transitions: int,
        start: int,
        end: int,
        exact: bool,
        kernels: str,
    ) -> None: ...

def chain_sums(
    scores: ChainScores,
    log_partition: int,
    states: int,
    weights: int,
    rows: int,
    transitions: int,
    start: int,
    end: int,
) -> None: ...
def chain_viterbi(scores: ChainScores, best: int, states: int, paths: int) -> None: ...
def path_loss(
    time: int,
    batch: int,
    states: int,
    threads: int,
    scores: int,
    wide: bool,
    paths: int,
    lengths: int,
    tables: Sequence[int],
    wide_tables: bool,
    legal: Sequence[int],
    weights: int,
    weight: float,
    total: bool,
    losses: int,
    gradient: Sequence[int],
    kernels: str,
) -> bool: ...
