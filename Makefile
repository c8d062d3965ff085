# `make` lists the goals. Each makes .venv first, if it is missing, half made, or older than what it is made from.

PYTHON ?= python3
ARGS ?=
N ?= 10000
KILLS ?= 40
PY := .venv/bin/python
DONE := .venv/.installed
DEV := .venv/.installed-dev
UNDER_WAY := .venv/.installing
CODE := ferlib tools tests benchmarks notebooks/src

.DEFAULT_GOAL := help
.PHONY: help course lab test lint notebooks assignments class colab-check api bench mutations test-oldest test-newest torture publish-check clean

help: ## list the goals
	@grep -E '^[a-z -]+:.*## ' Makefile | sed -E 's/^([a-z -]+):.*## /  make \1\t/' | expand -t 32

course: $(DONE) ## run every lesson and write the pages to build/course (ARGS="--only 01" for one)
	$(PY) tools/course.py $(ARGS)

lab: $(DONE) ## open the notebooks in JupyterLab
	$(PY) -m jupyter lab --notebook-dir=notebooks $(ARGS)

test: $(DEV) ## run the tests, in two processes (ARGS="-n 0" for one, ARGS="-k lessons" for some)
	$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(DEV) ## check style, types, and that the notebooks match their sources
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m mypy
	$(PY) tools/course.py --check
	$(PY) tools/teach.py sync --check

notebooks: $(DEV) ## write the notebooks from their sources, lessons and assignments
	$(PY) tools/course.py --sync
	$(PY) tools/teach.py sync

assignments: $(DEV) ## prove the assignments' right and wrong answers through nbgrader (a few minutes)
	$(PY) tools/teach.py check $(ARGS)

class: $(DEV) ## grade 200 simulated submissions end to end (some minutes)
	$(PY) tools/rehearsal.py $(ARGS)

colab-check: $(DONE) ## run the lessons with the versions that Google Colab has (some minutes, up to 7 GB, removed afterwards)
	$(PY) tools/colab.py check $(ARGS)

api: $(DEV) ## write the library's reference to build/api/index.html
	$(PY) -m pdoc ferlib --docformat google --no-show-source --output-directory build/api

bench: $(DONE) ## measure what things cost, side by side, into benchmarks/table.md (12 minutes; nothing else should run)
	$(PY) benchmarks/bench.py --out benchmarks/table.md $(ARGS)

mutations: $(DEV) ## put 32 mistakes into a copy of ferlib, one at a time: each must make a test fail (some minutes)
	$(PY) tools/mutations.py $(ARGS)

test-oldest test-newest: $(DEV) ## run the tests with the oldest or newest packages allowed (15 minutes, 7 GB, removed afterwards)
	$(PY) tools/versions.py $(@:test-%=%) $(ARGS)

torture: $(DEV) ## bad inputs, kills and full disks at many moments (N=10000 inputs a reader, KILLS=40; an hour or two)
	FERLIB_TORTURE=$(N) $(PY) -m pytest -n 0 -s tests/test_hostile.py $(ARGS)
	FERLIB_TORTURE=$(KILLS) $(PY) -m pytest -n 0 tests/test_faults.py tests/test_determinism.py $(ARGS)

publish-check: $(DEV) ## set the address everywhere and name what is left (REPOSITORY=https://github.com/you/name)
	$(PY) tools/publish.py $(REPOSITORY)

clean: ## delete what was built, but not .venv
	rm -rf build .pytest_cache .ruff_cache .mypy_cache
	find ferlib tools tests benchmarks notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

# One pip command on purpose: it settles torch with torchvision, and leaves the OpenCV that has cv2.face on top.
# An install that was cut short leaves its mark, $(UNDER_WAY), and is then begun anew.
$(DONE): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "Python 3.10 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1);" \
	       "name another: make PYTHON=python3.12"; exit 1; }
	@if [ -e $(UNDER_WAY) ] || ! $(PY) -m pip --version >/dev/null 2>&1; then $(PYTHON) -m venv --clear .venv; fi
	@touch $(UNDER_WAY) && rm -f $(DONE)
	$(PY) -m pip install -r requirements.txt
	@mv $(UNDER_WAY) $(DONE) && touch $(DONE)

# What tests, lint and the teacher's kit need beyond the lessons.
$(DEV): $(DONE)
	$(PY) -m pip install -e ".[demo,dev,teach]"
	@touch $(DEV)
