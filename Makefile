# Everything a developer types. `make help` lists it.
#
# PYTHON is the interpreter that the environment is made from: make env PYTHON=python3.13

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check
RUN    ?= runs/demo

.DEFAULT_GOAL := help
.PHONY: help env demo test bench sanitize races neon lint format reproduce clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(STAMP) ## make .venv: the package (editable), its native module and the tools, at tested versions

# torch goes first and pinned, so that nothing else can decide its version. The package is installed in editable
# mode: what is imported is the checked-out code, and only a change of the files named here needs a new install.
$(STAMP): pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*.* csrc/*/*.*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "elman needs Python 3.11 or later; PYTHON=$(PYTHON) is $$($(PYTHON) -V 2>&1)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --build-constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -c 'from elman import kernels; print(kernels.native_status())'
	@touch $(STAMP)

demo: $(STAMP) ## about three minutes: train a character model on Python's own source, plot, generate
	PATH="$(abspath $(BIN)):$$PATH" examples/demo.sh $(RUN)

test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest --quiet

# A second environment that borrows the first one's packages: only the native module is another.
WATCHED := .venv-sanitize
SANITIZED_TESTS ?= tests/test_native_path.py tests/test_native_bfloat16.py tests/test_native_attend.py tests/test_tokens.py tests/test_counter.py \
	tests/models/test_symbol_loss.py tests/lattice tests/search tests/streaming
$(WATCHED)/.installed: $(STAMP)
	$(PYTHON) -m venv $(WATCHED)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(WATCHED)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/packages.pth"
	$(WATCHED)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --upgrade pip
	$(WATCHED)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --build-constraint constraints.txt \
		-C cmake.define.ELMAN_SANITIZE=address,undefined -C build-dir=build/sanitize --editable .
	@touch $@

# The interpreter is not watched: the library has to be there before it, and its leaks are not ours. A report is written
# to the standard error, which pytest has to leave alone.
sanitize: $(WATCHED)/.installed ## run the tests of the native kernels under the address and undefined-behaviour sanitizers
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(WATCHED)/bin/python -m pytest --quiet --capture=sys $(SANITIZED_TESTS)

CASES := build/cases
$(CASES)/.written: $(STAMP) tests/driver/cases.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/driver/cases.py $(CASES)
	@touch $@

races: $(CASES)/.written ## repeat calls of the engine from several threads at once under the thread sanitizer
	$(BIN)/cmake -S . -B build/races -DELMAN_DRIVER=ON -DELMAN_SANITIZE=thread > /dev/null
	$(BIN)/cmake --build build/races --parallel 2
	build/races/driver $(CASES)/*.case

# Debian: apt-get install g++-aarch64-linux-gnu qemu-user
neon: $(CASES)/.written ## compile the kernels for 64-bit ARM and repeat calls of the engine under QEMU
	$(BIN)/cmake -S . -B build/neon -DELMAN_DRIVER=ON -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
		-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_EXE_LINKER_FLAGS=-static > /dev/null
	$(BIN)/cmake --build build/neon --parallel 2
	qemu-aarch64 build/neon/driver $(CASES)/*.case

lint: $(STAMP) ## ruff and pyrefly
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python --summary=none

format: $(STAMP) ## let ruff lay out the code and sort the imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## run the benchmarks in turn with their rivals, as far as those are installed: docs/benchmarks.md
	$(BIN)/python benchmarks/report.py

reproduce: ## list the commands that repeat the recorded results
	@for file in reproduce/*.sh reproduce/kill_and_resume.py; do echo "PATH=$(BIN):\$$PATH $$file"; done

clean: ## remove the environment, builds and caches; runs stay
	rm -rf $(VENV) $(WATCHED) build dist .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
