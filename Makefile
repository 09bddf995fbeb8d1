# Everything runs in .venv, made from the hash-locked requirements.lock. Needs Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Every process would compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all test-times faults mutants lint format lock bench accelerator-dry clean

## make demo: train a DCGAN of classes on the embedded images, score it, write its page; about 5 minutes on 2 cores
demo: $(READY)
	$(BIN)/python experiments/dcgan.py train --workdir runs/demo --judge-every 500 --conditional \
	  --spectral-norm --discriminator-norm none --loss hinge --beta1 0
	$(BIN)/python experiments/dcgan.py evaluate --workdir runs/demo --count 2000
	$(BIN)/python experiments/dcgan.py report --workdir runs/demo

SUITE := $(BIN)/python -m pytest -n auto --dist worksteal tests

## make test: everything that a change can break, in its cheapest form, notebooks included; at most 12 minutes on 2 cores
test: $(READY)
	GANJAX_SMOKE=1 $(SUITE)

## make test-all: the full matrix, more of it compiled as for users; at most 60 minutes on 2 cores
test-all: $(READY)
	GANJAX_SMOKE=1 GANJAX_TESTS=full $(SUITE) --nbmake --nbmake-timeout=120 notebooks

## make test-times: `make test`, and where its time went
test-times: $(READY)
	GANJAX_SMOKE=1 $(SUITE) -p times
	$(BIN)/python tests/times.py

## make faults: kill, damage, fill and starve real runs, all the faults of tests/faults; about 40 minutes on 2 cores
faults: $(READY)
	rm -rf runs/faults
	GANJAX_FAULTS=full $(BIN)/python -m pytest -n auto --dist worksteal tests/faults
	$(BIN)/python tests/faults/report.py --write

## make lint: style and types
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## make mutants: small wrong versions of the package, each of which its named test must see; at most 10 minutes
mutants: $(READY)
	$(BIN)/python tests/mutants/run.py

## make bench: steps per second against PyTorch, if torch is installed (pip install -e .[benchmark])
bench: $(READY)
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/objectives.py
	$(BIN)/python benchmarks/relatives.py --workloads vae gated_pixelcnn
	$(BIN)/python benchmarks/relatives.py --workloads sample_gated_pixelcnn --contenders "torch tuned" --rounds 1
	$(BIN)/python benchmarks/translation.py
	$(BIN)/python benchmarks/styles.py
	$(BIN)/python benchmarks/dynamics.py
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/inception.py

## make accelerator-dry: pack for a machine without a network, rehearse its run there with Python 3.12 and jax 0.11
# What that machine has comes from the registries, the rest from the pack. PyTorch for Linux may bring 5 GB of CUDA:
# TORCH= leaves it out, and with it what races against it; pip's own settings choose another build.
PYTHON312 ?= python3.12
TORCH ?= torch
BIN312 := .venv312/bin
accelerator-dry: .venv312/.ready
	rm -rf runs/pack runs/accelerator-dry
	$(BIN312)/python scripts/accelerator.py pack --out runs/pack
	$(BIN312)/python runs/pack/ganjax/scripts/accelerator.py run --dry --out runs/accelerator-dry

.venv312/.ready: scripts/accelerator/wheels.lock
	@$(PYTHON312) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || \
	  { echo "this needs Python 3.12, $(PYTHON312) is another; use: make PYTHON312=/path/to/python3.12 accelerator-dry"; exit 2; }
	$(PYTHON312) -m venv .venv312
	$(BIN312)/python -m pip install --quiet "jax>=0.11,<0.12" $(TORCH)
	@touch $@

## make lock: resolve the newest allowed versions into requirements.lock and the accelerator's wheels.lock (needs uv)
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --fork-strategy fewest \
	  --generate-hashes --no-annotate --no-header -o requirements.lock
	cd scripts/accelerator && uv pip compile wheels.in --python-version 3.12 --python-platform x86_64-manylinux_2_28 \
	  --only-binary :all: --generate-hashes --no-annotate --no-header -o wheels.lock \
	  $(addprefix --no-emit-package=,jax jaxlib numpy scipy ml-dtypes opt-einsum)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ganjax needs Python 3.11 or newer, $(PYTHON) is older; use: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf .venv .venv312 .cache dist build .pytest_cache .mypy_cache .ruff_cache
