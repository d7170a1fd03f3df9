"""HMMs: ln p, one iteration of Baum-Welch and the best path, elman against hmmlearn.

    python benchmarks/hmm.py [--time 100000] [--states 16 64] [--threads 2] [--rounds 5]

Both sides have the same categorical model of 32 symbols and one sequence, drawn at random. hmmlearn runs its
faster implementation, "scaling"; its loops have one thread. Before the times the results are compared. Needs
hmmlearn.
"""

import argparse
import logging

import numpy as np
import torch
from hmmlearn.hmm import CategoricalHMM as Peer
from timing import conditions, interleaved, table

from elman.lattice.hmm_discrete import CategoricalHMM

SYMBOLS = 32


def models(states: int, random: np.random.Generator) -> tuple[CategoricalHMM, Peer]:
    start = np.full(states, 1 / states)
    transitions = random.dirichlet(np.full(states, 0.5), states)
    probabilities = random.dirichlet(np.full(SYMBOLS, 0.3), states)
    own = CategoricalHMM.of(start, transitions, probabilities, warm_start=True, iterations=1)
    peer = Peer(states, n_iter=1, init_params="", implementation="scaling", tol=0)
    peer.startprob_, peer.transmat_ = own.start_.copy(), own.transitions_.copy()
    peer.emissionprob_, peer.n_features = own.probabilities_.copy(), SYMBOLS
    return own, peer


def rows(time: int, states: int, rounds: int) -> list[tuple[object, ...]]:
    random = np.random.default_rng(0)
    own, peer = models(states, random)
    data = random.integers(0, SYMBOLS, (time, 1))
    np.testing.assert_allclose(own.score(data), peer.score(data), rtol=1e-6)
    begin = {name: getattr(own, name).copy() for name in ("start_", "transitions_", "probabilities_")}

    def own_iteration() -> None:
        vars(own).update(begin)
        own.fit(data)

    def peer_iteration() -> None:
        peer.startprob_, peer.transmat_ = begin["start_"], begin["transitions_"]
        peer.emissionprob_ = begin["probabilities_"]
        peer.fit(data)

    own_iteration()
    peer_iteration()
    np.testing.assert_allclose(own.transitions_, peer.transmat_, atol=1e-4)
    vars(own).update(begin)
    peer.startprob_, peer.transmat_, peer.emissionprob_ = begin.values()
    calls = {
        "score": (lambda: own.score(data), lambda: peer.score(data)),
        "iteration": (own_iteration, peer_iteration),
        "best path": (lambda: own.predict(data), lambda: peer.predict(data)),
    }
    found: list[tuple[object, ...]] = []
    for name, (ours, theirs) in calls.items():
        times = interleaved({"elman": ours, "hmmlearn": theirs}, rounds=rounds)
        ratio = times["hmmlearn"].over(times["elman"])
        milliseconds = [f"{times[side].median * 1e3:.2f}" for side in ("hmmlearn", "elman")]
        found.append((name, time, states, *milliseconds, ratio))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time", type=int, default=100_000)
    parser.add_argument("--states", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.disable(logging.WARNING)  # hmmlearn warns of one iteration
    found = [row for states in arguments.states for row in rows(arguments.time, states, arguments.rounds)]
    print(conditions() + "\n")
    print(table(["HMM", "T", "S", "hmmlearn ms", "elman ms", "times as fast"], found))


if __name__ == "__main__":
    main()
