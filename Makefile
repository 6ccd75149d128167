# Two commands: `make verify` (verdicts on the built-in problems) and `make test`; `make parity` adds torch, 1 GB.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# XLA uses all cores; NumPy's small matrices in the theory are faster on one.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: verify test parity check figures clean

# A stamp per set of extras, so that a second call installs nothing.
$(VENV)/.run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable ".[data,progress]"
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@

# One version of torch, by pip's own settings: an index of CPU builds, if one is set, saves the drivers.
$(VENV)/.parity: $(VENV)/.test
	$(RUN) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable ".[parity]"
	touch $@

verify: $(VENV)/.run
	$(RUN) -m experiments --profile quick --executor experiments:2

test: $(VENV)/.test
	$(RUN) -m pytest -n auto -m "not optimized"
	$(RUN) -m pytest -n auto -m optimized tests

# Language models against transformers and peft; `make test` skips these where they are not installed.
parity: $(VENV)/.parity
	$(RUN) -m pytest -n auto -m parity tests/models

# What continuous integration adds to the tests.
check: $(VENV)/.test
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

# The committed figures, from scratch.
figures: $(VENV)/.run
	$(RUN) -m experiments --profile full --executor experiments:2

clean:
	rm -rf $(VENV) results build dist *.egg-info
