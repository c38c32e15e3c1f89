PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# --use-pep517: seqeval has no wheel, and older versions of pip would build it with whatever lies around.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --constraint constraints.txt

.PHONY: help quickstart test unit lint format docs clean

help:
	@echo "make quickstart   train, evaluate, save, load and predict; writes quickstart.html"
	@echo "make test         lint, types, import contract and all tests"
	@echo "make unit         all tests without lint"
	@echo "make lint         lint, types and import contract"
	@echo "make format       rewrite the code in the project's format"
	@echo "make docs         the documentation as a site, in build/site"
	@echo "make clean        remove what the others made"

quickstart: $(VENV)/quickstart.done
	$(BIN)/python training_scripts/quickstart.py

test: lint unit

unit: $(VENV)/test.done
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet span_marker
	$(BIN)/lint-imports

format: $(VENV)/test.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/docs.done
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/site

$(VENV)/python.done:
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch first: later steps must not choose another build of it.
$(VENV)/torch.done: $(VENV)/python.done constraints.txt
	$(PIP) torch
	@touch $@

$(VENV)/quickstart.done: $(VENV)/torch.done pyproject.toml constraints.txt
	$(PIP) --editable '.[quickstart]'
	@touch $@

$(VENV)/test.done: $(VENV)/torch.done pyproject.toml constraints.txt
	$(PIP) --editable '.[quickstart,test,lint]'
	@touch $@

$(VENV)/docs.done: $(VENV)/torch.done pyproject.toml constraints.txt
	$(PIP) --editable '.[spacy,docs]'
	@touch $@

clean:
	rm -rf $(VENV) build docs/figures dist *.egg-info quickstart-model quickstart.html
