# The verbs a newcomer needs: `make up`, `make down`, `make test`, `make check`. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed-$(shell sha256sum requirements.txt | cut -c1-12)
RUN := PYTHONPATH=.:infra:runtime:policies $(VENV)/bin/python

.PHONY: help up down env status install sample-data lock docs test soak check bench format lock-requirements
.DEFAULT_GOAL := help

help: ## Show the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

up: install ## A whole feature store on this machine (as root; about 22 minutes the first time, then one)
	@$(RUN) -m sandbox up

down: install ## Remove all that `make up` left on this machine
	@$(RUN) -m sandbox down

env: install ## Shell exports: eval "$$(make -s env)", then pulumi, kubectl and feast act on the sandbox
	@$(RUN) -m sandbox env

status: install ## What of the sandbox is running
	@$(RUN) -m sandbox status

lock: install ## Write feature_repo/contract.lock.json from the feature definitions
	@$(RUN) -m feature_runtime lock

sample-data: install ## Write the example's data, feature_repo/data/employee_attrition.parquet
	@$(RUN) -m feature_runtime sample-data feature_repo/data/employee_attrition.parquet

docs: install ## Write what is generated: docs/settings.md, costs.md and policies.md, the gate's rules, stacks/schema.json
	@$(RUN) -m feast_eks.generated
	@$(RUN) -m feast_eks_policies.reference docs/policies.md
	@$(RUN) -m feature_runtime.gate.reference docs/changing-features.md

test: install ## All tests, on a sandbox of their own (as root)
	@$(RUN) -m sandbox test

soak: install ## All tests with what `make test` leaves to the night: exhaustive counts and more failures (as root; two hours)
	@SOAK=1 $(RUN) -m sandbox test

check: install ## Format, lint, types, workflows; what is generated is fresh; the policies' configurations are right
	@$(VENV)/bin/ruff format --check --quiet . || { echo 'not formatted: make format'; exit 1; }
	@$(VENV)/bin/ruff check --quiet .
	@$(RUN) -m mypy
	@said=$$($(RUN) -m feature_runtime lock --check) || { echo "$$said"; exit 1; }
	@$(RUN) -m feast_eks.generated --check
	@$(RUN) -m feast_eks_policies.reference docs/policies.md --check
	@$(RUN) -m feature_runtime.gate.reference docs/changing-features.md --check
	@$(RUN) -m feast_eks_policies.check_config policies/config/*.json
	@$(RUN) -m delivery.lint

bench: install ## Measure serving, loading, joining and previewing, side by side with what others do (as root; half an hour)
	@$(RUN) -m bench.serving
	@$(RUN) -m bench.materialization
	@$(RUN) -m bench.point_in_time
	@$(RUN) -m sandbox cloud
	@$(RUN) -m feature_runtime sample-data feature_repo/data/employee_attrition.parquet
	@$(RUN) -m bench.preview

format: install ## Format the Python files
	@$(VENV)/bin/ruff format --quiet .
	@$(VENV)/bin/ruff check --quiet --fix-only .

lock-requirements: install ## Resolve requirements.in into the two lock files
	@$(VENV)/bin/uv pip compile -q requirements.in -o requirements.txt --python-version 3.11 --generate-hashes --no-header --no-annotate
	@$(VENV)/bin/uv pip compile -q runtime/requirements.in -c requirements.txt -o runtime/requirements.txt --python-version 3.11 --generate-hashes --no-header --no-annotate

install: $(INSTALLED)

# Bytecode is compiled here because importing Feast without it takes seven seconds more, every time.
$(INSTALLED): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo 'Python 3.11 is needed, $(PYTHON) is another: make PYTHON=python3.11 …'; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo 'Python lacks venv: apt-get install python3-venv'; exit 1; }
	@echo 'Installing the Python packages into $(VENV) (two minutes, once) …' >&2
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@env -u PYTHONDONTWRITEBYTECODE $(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
	@touch $@
