# Two commands set everything up: `make sweep` runs the main job, `make test` the quick tests; `make test-all` runs all.
# `make docs` builds the documentation as a site, in site/.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: sweep test test-slow test-all docs install
sweep: install
	$(BIN)/python -m lcomp -m kd.temperature=1,3,6,8

TEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: install
	$(TEST) -m "not slow"

test-slow: install
	$(TEST) -m slow

test-all: test test-slow

docs: install
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/build_site.py

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lcomp needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@
