# Everything runs in .venv, which is made when it is first needed and again when requirements.txt
# changes. Another Python: make PYTHON=python3.12 repro

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

# Each stamp is written last: an installation that was cut short has none and starts over.
RUNTIME := $(VENV)/installed
TOOLS := $(VENV)/installed-tools

# `python` in dvc.yaml and in the tests is the one in .venv.
IN_VENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" python

.PHONY: repro test

repro: $(RUNTIME)
	$(IN_VENV) -m dvc repro

test: $(TOOLS)
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m mypy
	$(IN_VENV) -m pytest -m ""

$(RUNTIME): requirements.txt
	@$(PYTHON) -c 'import sys; found = "%d.%d" % sys.version_info[:2]; \
	    sys.exit(sys.version_info < (3, 11) and "$(PYTHON) is Python " + found + ", and this project \
	needs 3.11 or newer: install one and name it, for example make PYTHON=python3.12 repro.")'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install -r requirements.txt
	@touch $@

$(TOOLS): requirements-dev.txt requirements-ray.txt $(RUNTIME)
	$(PIP) install -r requirements-dev.txt
	@touch $@

# A .venv that no longer works (its Python was upgraded away, the folder was moved) is made again.
ifeq ($(shell $(VENV)/bin/pip --version 2>/dev/null),)
.PHONY: $(RUNTIME)
endif
