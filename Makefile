# Everything runs in .venv, which is made when it is first needed and again when the locked libraries
# change. Another Python: make PYTHON=python3.12 repro

PYTHON ?= python3
VENV := .venv

# constraints.txt has the version of every library. The locks have the hashes as well, of all but torch
# and its CUDA libraries: its builds for CPU, CUDA and macOS differ in hash and in what they need.
# (Both names, since one library comes as source alone, and pip before 25.3 builds it by the first.)
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
    $(VENV)/bin/python -m pip --disable-pip-version-check

# Each stamp is written last: an installation that was cut short has none and starts over.
RUNTIME := $(VENV)/installed
TOOLS := $(VENV)/installed-tools

# The page of `dvc plots show`, with Vega in it: it opens with no network.
PLOTS := .dvc/plots.html

# `python` in dvc.yaml and in the tests is the one in .venv.
IN_VENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" python

.PHONY: repro test audit lock

repro: $(RUNTIME) $(PLOTS)
	@$(IN_VENV) -m dvc repro || { [ -e .git ] || echo "DVC needs a git repository, and this folder is \
	none: clone the project, or run git init here, and run again." >&2; exit 1; }

test: $(TOOLS)
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m mypy
	$(IN_VENV) -m pytest -m "" --numprocesses 2 --dist loadfile

$(RUNTIME): requirements.lock requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; found = "%d.%d" % sys.version_info[:2]; \
	    sys.exit(sys.version_info < (3, 11) and "$(PYTHON) is Python " + found + ", and this project \
	needs 3.11 or newer: install one and name it, for example make PYTHON=python3.12 repro.")'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --require-hashes --no-deps -r requirements.lock
	$(PIP) install -r requirements.txt
	@touch $@

$(PLOTS): $(RUNTIME)
	@$(IN_VENV) -m docs.plots_page

$(TOOLS): requirements-dev.lock $(RUNTIME)
	$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

# A .venv that no longer works (its Python was upgraded away, the folder was moved) is made again.
ifeq ($(shell $(VENV)/bin/pip --version 2>/dev/null),)
.PHONY: $(RUNTIME)
endif

# What keeps the locks has a .venv of its own: it shares no library with the pipeline.
UPKEEP := $(VENV)/upkeep
$(UPKEEP)/installed: Makefile
	$(PYTHON) -m venv --clear $(UPKEEP)
	$(UPKEEP)/bin/python -m pip --disable-pip-version-check install uv==0.13.9 pip-audit==2.10.1
	@touch $@

# Writes the locks after a change of requirements*.txt, for every platform and Python from 3.11 on.
# Versions stay where they still fit; the newest that fit: make UPGRADE=--upgrade lock
COMPILE := $(UPKEEP)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
    --custom-compile-command "make lock"
LOCK := $(COMPILE) --constraints constraints.txt --generate-hashes --no-annotate \
    --no-emit-package torch --excludes $(UPKEEP)/cuda.txt
lock: $(UPKEEP)/installed
	$(COMPILE) $(UPGRADE) requirements-dev.txt --output-file constraints.txt
	grep '^torch==' requirements.txt | $(COMPILE) --constraints constraints.txt --no-annotate - \
	    | sed -n "s/^\([a-z0-9-]*\)==.*sys_platform == 'linux'.*/\1/p" >$(UPKEEP)/cuda.txt
	$(LOCK) requirements.txt --output-file requirements.lock
	$(LOCK) requirements-dev.txt --output-file requirements-dev.lock

# Asks PyPI for the known vulnerabilities of all that is locked; one library with a vulnerability fails
# it, or one without an answer (--strict).
audit: $(UPKEEP)/installed
	@$(UPKEEP)/bin/pip-audit --strict --disable-pip --no-deps --progress-spinner off \
	    --requirement constraints.txt 2>$(UPKEEP)/errors.txt || { \
	    tail -n 1 $(UPKEEP)/errors.txt >&2; grep -q '^Found' $(UPKEEP)/errors.txt || \
	    echo "The audit is not done: PyPI's list of vulnerabilities gave no answer (see above)." >&2; \
	    exit 1; }
