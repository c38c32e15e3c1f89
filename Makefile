PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
# --use-pep517: seqeval has no wheel, and older versions of pip would build it with whatever lies around.
# --no-compile: pip would compile 30,000 modules on one core. Those that are imported are compiled then, or by COMPILE.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --no-compile --constraint $(CONSTRAINTS)
# On all cores. A few files are templates rather than modules, and fail.
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

.PHONY: help quickstart test unit test-slow lint test-oldest test-newest test-wheel audit format docs clean

help:
	@echo "make quickstart   train, evaluate, save, load and predict; writes data, model and a page to quickstart/"
	@echo "make test         lint, types, import contracts, spelling and all tests"
	@echo "make unit         all tests without lint"
	@echo "make test-slow    the tests that take minutes, such as the export of every family of encoders, and clusters"
	@echo "make lint         lint, types, import contracts and spelling"
	@echo "make test-oldest  all tests with the oldest versions of all dependencies that pyproject.toml allows"
	@echo "make test-newest  all tests with the newest"
	@echo "make test-wheel   all tests against the wheel, where there are no sources"
	@echo "make audit        look for known vulnerabilities of the dependencies"
	@echo "make format       rewrite the code in the project's format"
	@echo "make docs         the documentation as a site, in build/site"
	@echo "make clean        remove everything that the other targets made"

quickstart: $(VENV)/quickstart.done
	$(BIN)/python training_scripts/quickstart.py

# At the same time: types are checked on one core, for a minute or more.
test: $(VENV)/test.done
	$(MAKE) --jobs 2 lint unit

unit: $(VENV)/test.done
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Only files that have such tests are collected, and they start in the order of tests/conftest.py. They wait for other
# processes, so that two cores have work for three.
test-slow: $(VENV)/test.done
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -m slow $$(grep -rl --include='test_*.py' mark.slow tests)

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet span_marker
	$(BIN)/lint-imports
	$(BIN)/codespell

test-oldest:
	$(MAKE) unit VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

test-newest:
	$(MAKE) unit VENV=.venv-newest CONSTRAINTS=/dev/null

test-wheel:
	$(MAKE) .venv-wheel/test.done VENV=.venv-wheel
	rm -rf build/wheel
	mkdir -p build/wheel/tree
	.venv-wheel/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	.venv-wheel/bin/python -m pip install --quiet --no-deps --force-reinstall build/wheel/*.whl
	git ls-files -z ':!span_marker' ':!span_marker_spacy.py' | xargs -0 cp --parents --target-directory build/wheel/tree
	cd build/wheel/tree && ../../../.venv-wheel/bin/python -m pytest --numprocesses 2 --dist loadfile tests --pyargs span_marker

audit: $(VENV)/audit.done
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement $(CONSTRAINTS)

format: $(VENV)/test.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/docs.done
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/site

$(VENV)/python.done:
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch first: later steps must not choose another build of it.
$(VENV)/torch.done: $(VENV)/python.done $(CONSTRAINTS)
	$(PIP) torch
	@touch $@

$(VENV)/quickstart.done: $(VENV)/torch.done pyproject.toml $(CONSTRAINTS)
	$(PIP) --editable '.[quickstart]'
	@touch $@

# Again, the fork of docstring-parser that pydoclint needs: Haystack brings the original, a module of the same name.
$(VENV)/test.done: $(VENV)/torch.done pyproject.toml $(CONSTRAINTS)
	$(PIP) --editable '.[quickstart,test,lint]'
	$(PIP) --force-reinstall --no-deps docstring-parser-fork
	$(COMPILE)
	@touch $@

$(VENV)/docs.done: $(VENV)/torch.done pyproject.toml $(CONSTRAINTS)
	$(PIP) --editable '.[spacy,docs]'
	@touch $@

$(VENV)/audit.done: $(VENV)/python.done
	$(PIP) 'pip-audit>=2.10'
	@touch $@

clean:
	rm -rf .venv .venv-oldest .venv-newest .venv-wheel build dist *.egg-info quickstart
