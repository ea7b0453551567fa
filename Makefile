# Two commands for a newcomer on Debian or Ubuntu, each doing all of its own set-up: `make app` and `make test`.
# Nothing outside this folder is changed; what is missing on the system is named with the line that installs it.

VENV := .venv
PY := $(VENV)/bin/python
PYTHONS ?= python3 python3.13 python3.12 python3.11
# uv where it is installed, else empty: it brings its own venv and installs in a fraction of pip's time.
UV := $(shell command -v uv 2>/dev/null)
SPACE := build/space
SPACE_PYTHON ?= python3.12

# Each recipe is one shell script that stops at its first failure.
.ONESHELL:
.SHELLFLAGS := -euc
ifeq ($(filter oneshell,$(.FEATURES)),)
$(error expected GNU make 3.82 or newer, got $(MAKE_VERSION); use the plain pip lines of the README)
endif

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# A stamp holds the text of what is installed and is written last: after a cut-short install or a changed requirement
# pip runs again, otherwise nothing does. The tests' requirements contain the program's, so they stamp both.
define install
if ! cat requirements.txt $(1) | cmp -s - $(VENV)/installed-$(1); then
  rm -f $(VENV)/installed-*
  echo "Installing $(1) into $(VENV)"
  $(if $(UV),$(UV) pip install --python $(PY),$(PY) -m pip install --disable-pip-version-check) --requirement $(1)
  for name in requirements.txt $(1); do cat requirements.txt $$name > $(VENV)/installed-$$name; done
fi
endef

# The page's scripts as one file, each component in a block of its own after what they share, so that an undefined or
# unused name is found whichever file it is in.
define lint_scripts
folder=$$(mktemp -d)
trap 'rm -r "$$folder"' EXIT
{
  for scripts in language files folders unzip zip; do cat spineseg/ui/static/$$scripts.js; done
  for scripts in upload 'batch*' corrections measures header examples values 'viewer-?-*'; do
    echo "(() => { // $$scripts"
    cat spineseg/ui/static/$$scripts.js
    echo "})();"
  done
} > "$$folder/page.js"
$(VENV)/bin/oxlint --config .oxlintrc.json "$$folder/page.js"
endef

.PHONY: help app space test check fuzz release venv

help:
	@echo "make app     install, then serve the page on http://127.0.0.1:7860 (more options: make app ARGS='--help')"
	echo "make space   what a Hugging Face Space installs, on Python 3.12 (3 GB), then serve the page from it"
	echo "make test    install, then check style and types and run the tests"
	echo "make check   style and types only"
	echo "make fuzz    2,000 damaged files, each read in an interpreter of its own (for the night)"
	echo "make release VERSION=1.2.3   write the version, date the CHANGELOG's entry, test, commit and tag"

app: venv
	@$(call install,requirements.txt)
	echo "Starting the page on http://127.0.0.1:7860, or as it says below (Ctrl+C stops it)"
	exec $(PY) app.py $(ARGS)

# As `sdk: gradio` does it: Gradio with the extras that it adds, and everything resolved together.
space:
	@version=$$(sed -n 's/^sdk_version: *//p' README.md)
	$(SPACE)/bin/python -c 'import pip' 2>/dev/null || $(SPACE_PYTHON) -m venv --clear $(SPACE)
	$(SPACE)/bin/python -m pip install --disable-pip-version-check --requirement requirements.txt \
	  "gradio[oauth,mcp]==$$version" uvicorn websockets spaces
	exec env SYSTEM=spaces SPACE_ID=owner/name $(SPACE)/bin/python app.py $(ARGS)

# Tests in a browser are left out where there is none, unless CI is true; the summary then says what to install.
test: check
	@$(PY) -m pytest -n auto --dist loadfile $(ARGS)

check: venv
	@$(call install,requirements-test.txt)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright
	$(call lint_scripts)

# Another seed each day; the line that it prints makes any one file again.
fuzz: venv
	@$(call install,requirements-test.txt)
	export SPINESEG_FUZZ="$${SPINESEG_FUZZ:-2000}" SPINESEG_FUZZ_SEED="$${SPINESEG_FUZZ_SEED:-$$(date +%Y%m%d)}"
	echo "SPINESEG_FUZZ=$$SPINESEG_FUZZ SPINESEG_FUZZ_SEED=$$SPINESEG_FUZZ_SEED"
	$(PY) -m pytest tests/io/test_fuzz.py $(ARGS)

release: venv
	@$(PY) -m tools.release "$(VERSION)"

# A virtual environment that was cut short, or whose Python has gone, is made anew.
venv:
	@if $(PY) -c 'import pip; $(SUPPORTED)' 2>/dev/null; then exit 0; fi
	python= bare=
	for name in $(PYTHONS); do
	  $$name -c '$(SUPPORTED)' 2>/dev/null || continue
	  if $$name -c '$(if $(UV),,import ensurepip, venv)' 2>/dev/null; then python=$$name; break; fi
	  bare=$${bare:-$$name}
	done
	if [ -z "$$python" ] && [ -n "$$bare" ]; then
	  echo "expected Python's venv module, which Debian and Ubuntu package apart; install it with:"
	  echo "  sudo apt-get update && sudo apt-get install -y $$(basename $$bare)-venv"
	  exit 1
	elif [ -z "$$python" ]; then
	  package=python3-venv
	  for name in python3.11 python3.12 python3.13; do
	    if apt-cache show $$name-venv >/dev/null 2>&1; then package=$$name-venv; fi
	  done
	  echo "expected Python 3.11, 3.12 or 3.13, found none; install one with:"
	  echo "  sudo apt-get update && sudo apt-get install -y $$package"
	  exit 1
	fi
	echo "Making $(VENV) with $$($$python --version)"
	$(if $(UV),$(UV) venv --quiet --seed --python "$$(command -v $$python)",$$python -m venv) --clear $(VENV)
