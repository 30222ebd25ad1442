# Two commands: `make app` shows the lab, `make test` runs every test. Both make .venv on first use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: app test lint screenshot clean

app: .venv/app
	$(BIN)/streamlit run app/main.py

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not browser"
	$(BIN)/python -m pytest -m browser

lint: .venv/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

screenshot: .venv/dev
	$(BIN)/python docs/screenshot.py

.venv/app: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'MvM Lab needs Python 3.11 or newer; name one with: make app PYTHON=python3.12'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: .venv/app requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf .venv
