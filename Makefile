# The two commands of a newcomer: `make book` and `make test`. Both make .venv first, with the versions of
# requirements.lock.

PROFILE ?= quick
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
CORES ?= all
STUDENT ?= 0
ANEW ?= 0

# Values from the user reach a shell as environment variables, never as words of a command.
export PROFILE CORES PORT
# Another environment that is active in the user's shell is not the one used here; IPython warns of it.
unexport VIRTUAL_ENV
PROFILES := $(sort $(basename $(notdir $(wildcard notebooks/profiles/*.yaml))))
# Ends make unless PROFILE is one word and one of the profiles.
KNOWN_PROFILE = $(if $(filter-out 1,$(words $(PROFILE)))$(filter-out $(PROFILES),$(PROFILE)),\
  $(error There is no profile "$(PROFILE)" in notebooks/profiles: choose one of $(PROFILES)))

.PHONY: book pdf figures reference test test-slow test-all lint check-lock links serve clean help licences audit-dependencies
.DEFAULT_GOAL := help

help:
	@echo "make book [PROFILE=quick]  run the experiments and build the site into _build/html"
	@echo "make figures [PROFILE=quick]  write every figure for slides into _build/figures (after make book)"
	@echo "make pdf                    print the built site as one file, _build/book.pdf (needs Chromium)"
	@echo "make book STUDENT=1         the edition to hand out, without solutions, in _build/student and as a zip file"
	@echo "make reference ANEW=1      train every experiment anew at the published setting (hours; says how many)"
	@echo "make test                  run the tests (minutes)"
	@echo "make test-all              run also the slow ones: kills, browsers, models of other libraries"
	@echo "make lint                  check style, types and prose"
	@echo "make check-lock            check that the pinned versions resolve on every system (needs a network)"
	@echo "make licences              list the licences of the pinned packages in LICENSES-third-party.md"
	@echo "make audit-dependencies    ask whether faults of the pinned packages are known (needs a network)"
	@echo "make links                 ask every address outside the built site whether it is still there"
	@echo "make serve [PORT=8000]     show the built site on this machine"
	@echo "make clean                 remove the site and its intermediate files (results and data stay)"

book: .venv/ready
	@$(KNOWN_PROFILE)PATH="$(CURDIR)/$(BIN):$$PATH" python book/make.py --profile "$$PROFILE" --cores "$$CORES" $(if $(filter-out 0,$(STUDENT)),--student)

# Makes what is missing; ANEW=1 moves the run that exists to results/paper-before first.
reference: .venv/ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" python workflow/reference.py "$$CORES" $(if $(filter-out 0,$(ANEW)),--anew)

figures: .venv/ready
	@$(KNOWN_PROFILE)$(BIN)/python book/figures_export.py --profile "$$PROFILE"

pdf: .venv/ready
	@$(BIN)/python book/pdf.py

test: .venv/ready
	$(BIN)/python -m pytest -n auto --dist loadscope -m "not slow"

test-slow: .venv/ready
	$(BIN)/python -m pytest -n auto --dist loadscope -m slow

test-all: test test-slow

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python book/habits.py

check-lock: .venv/ready
	@$(BIN)/python .ci/lock.py --check

links: .venv/ready
	@$(BIN)/python book/checks.py --external

licences: .venv/ready
	@$(BIN)/python .ci/licences.py

# Reads the pins only, so it needs no environment.
audit-dependencies:
	@$(PYTHON) .ci/audit_dependencies.py

serve: .venv/ready
	@test -f _build/html/index.html || { echo "There is no site yet: run make book first."; exit 1; }
	@echo "The site is at http://localhost:$$PORT/ (Ctrl-C ends it)."
	@$(BIN)/python -m http.server "$$PORT" --bind 127.0.0.1 --directory _build/html

clean:
	rm -rf _build .snakemake

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) is too old: vaemi needs Python 3.11 or newer (make PYTHON=python3.12 ...)."; exit 1; }
	@echo "Installing the pinned versions into .venv (a few minutes, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
