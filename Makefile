# The two commands of the README; each makes its own .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: figures test test-all paper-figures site clean

figures: .venv/ready  ## all figures, into out/
	$(BIN)/python -m tradeoff.figures

test: .venv/ready  ## style, tests, doctests, notebooks (under five minutes on two cores)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -n 2

test-all: .venv/ready  ## the slow tests as well
	$(BIN)/python -m pytest -q -m ''

paper-figures: .venv/ready  ## the committed figures, from the runs that `make figures` made
	rm -rf paper_figures
	$(BIN)/python -m tradeoff.figures --out paper_figures --runs out/runs
	$(BIN)/python -m tradeoff.figures --out paper_figures --index

site: .venv/site  ## the site, into out/site; SITE_NOTEBOOKS=off leaves out what the notebooks print and draw
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs out/site

.venv/site: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[site]'
	touch $@

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tradeoff needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## everything that the other targets made, but for paper_figures
	rm -rf .venv out docs/generated *.egg-info
