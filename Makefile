# Two commands: `make app` shows the lab, `make test` runs every test. Both make .venv on first use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: app test lint types bench screenshot gallery clean

app: .venv/app
	$(BIN)/mvm app

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not browser"
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/browser

lint: .venv/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

# A short form of every table of docs/results.md, in one to three minutes on two cores; the full ones stand there under their commands
SHORT := --seeds 1 --points 128 --out .bench
bench: .venv/dev
	$(BIN)/python -m benchmarks.recipe --steps 200 $(SHORT) --manifolds circle
	$(BIN)/python -m benchmarks.recipe --changes --steps 20 $(SHORT) --manifolds circle
	$(BIN)/python -m benchmarks.recipe --triplets --steps 20 $(SHORT) --manifolds circle
	$(BIN)/python -m benchmarks.recipe --waves --steps 20 $(SHORT) --manifolds circle
	$(BIN)/python -m benchmarks.recipe --supervised --steps 20 $(SHORT) --manifolds circle
	$(BIN)/python -m benchmarks.toys --steps 50 $(SHORT) --manifolds circle
	$(BIN)/python -m benchmarks.toys --seconds 0.5 $(SHORT) --manifolds circle
	$(BIN)/python -m benchmarks.likelihood --steps 20 --seeds 1 --out .bench
	$(BIN)/python -m benchmarks.engine --seconds 0.5 --variants 3 --batches 256 --out .bench
	$(BIN)/python -m benchmarks.engine --quality --steps 300 $(SHORT)
	$(BIN)/python -m benchmarks.superres --seconds 1 --rounds 1 --out .bench
	$(BIN)/python -m benchmarks.superres --quality --steps 10 --seeds 1 --settings mvm_a --no-perceptual --runs .bench/superres --out .bench
	MVM_CHECKPOINTS=.bench $(BIN)/python -m mvm claims --quick

screenshot: .venv/dev
	$(BIN)/python docs/screenshot.py

# The README's figures, from runs trained for them: four minutes on 2 cores
gallery: .venv/app
	$(BIN)/python docs/gallery.py

.venv/app: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'MvM Lab needs Python 3.11 or newer; name one with: make app PYTHON=python3.12'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m mvm.jobs.umap_worker </dev/null >/dev/null  # compiles UMAP now rather than at the first visit
	@touch $@

.venv/dev: .venv/app requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps torchcfm==1.0.7  # its own list would bring CUDA
	@touch $@

clean:
	rm -rf .venv
