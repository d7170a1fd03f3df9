"""What csrc/bindings exports, for the type checker; only elman.kernels imports it."""

def version() -> str: ...
def compiler() -> str: ...
def instruction_sets() -> list[str]: ...
def scan_kernels() -> list[str]: ...
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

class ScanPlan:
    def __init__(self, numbers: list[int], constants: list[float]) -> None: ...

class ScanSaved: ...

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
    kernels: str,
    inputs: list[int],
    weights: list[int],
    biases: list[int],
    params: list[int],
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
    d_states: list[int],
) -> None: ...
