# Each target works on a fresh machine: it installs what it needs into .venv first.

PYTHON ?= python3.11 python3.12 python3.13 python3
OLDEST := $(shell sed -n 's/^requires-python = ">=\([0-9.]*\)".*/\1/p' pyproject.toml)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DELETE_ON_ERROR:
.PHONY: help repro test lint look ui plots profile profiles diff plan recommend bench growth gpu peer forget-activations

help: ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 20

repro: $(READY) ## install, run the whole pipeline, print the answer and the path of the report
	dvc repro
	@changed="$$(git diff --name-only HEAD)"; test -z "$$changed" || echo "differs from the last commit:" $$changed "(docs/experiments.md)"
	@cat reports/answer.txt
	@echo "$(CURDIR)/reports/report.html"

test: lint ## install, lint, run the suite
	@# bytecode is kept, whatever the environment says: the suite starts a process more than two hundred times
	PYTHONDONTWRITEBYTECODE= python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --durations=10

lint: $(READY) ## ruff: style and format
	ruff check
	ruff format --check

look: $(READY) ## pictures of the report in .look/, as a desk and a phone show it, light and dark; needs the system's Chromium
	python tests/browser.py reports/report.html .look

ui: $(READY) ## open the table of experiments in the MLflow UI; on another port: make ui PORT=5001
	python -m stages.track
	python -m stages.ui $(or $(PORT),5000)

plots: $(READY) .dvc/plots/vega.js ## draw the curves of the report in DVC's page, which needs no network
	dvc plots show

.dvc/plots/vega.js: | $(READY)
	$(BIN)/python -c "import vl_convert; print(vl_convert.javascript_bundle())" > $@

profiles: $(READY) ## the profiles that there are, with what each is for
	@python -m stages.profile

profile: $(READY) ## write params.yaml from profiles: make profile NAME=embedded-utrera, or several in quotes
	@python -m stages.profile $(or $(NAME),default)

diff: $(READY) ## in what params.yaml differs from the default; or profiles do: make diff NAME=paper
	@python -m stages.profile --show $(NAME)

plan: $(READY) ## cells, time and disk that params.yaml takes, before it runs; or profiles do: make plan PROFILE=paper
	python -m stages.plan $(PROFILE)

recommend: $(READY) ## which source is best for a folder of images, a folder for each class: make recommend IMAGES=/data/mine MINUTES=10
	python -m stages.recommend $(IMAGES) --minutes $(or $(MINUTES),10) $(if $(LABELS),--labels $(LABELS)) $(if $(SOURCES),--sources $(SOURCES)) \
		$(if $(FOR),--for $(FOR)) $(if $(REGISTER),--register $(REGISTER))

forget-activations: ## remove kept activations and features of frozen parts; they are computed again where they are needed
	rm -rf .cells/activations .cells/features

bench: $(READY) ## measure speed; the tables go to the terminal
	python -m benchmarks.run

growth: $(READY) ## measure how time and memory grow, after `make repro`
	python -m benchmarks.growth

gpu: $(READY) ## with a GPU: its results against the processor's, its speed, and the page reports/gpu.md
	@python -c 'import torch, sys; torch.cuda.is_available() or sys.exit("error: torch sees no GPU on this machine, so there is nothing to try")'
	python -m pytest -m gpu tests/gpu
	python -m benchmarks.gpu

peer: $(READY) .peer/ready ## measure against the training loop of the robustness package, after `make repro`; takes an hour
	python -m benchmarks.peer
	python -m benchmarks.peer_resnet50

# makes an environment by the first PYTHON that is new enough
define environment
	@test -x $(1)/bin/python || for python in $(PYTHON); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST)".split("."))))' 2>/dev/null || continue; \
		exec "$$python" -m venv $(1); \
	done; \
	test -x $(1)/bin/python || { echo "error: none of $(PYTHON) is Python $(OLDEST) or newer; name one: make $(or $(MAKECMDGOALS),repro) PYTHON=/path/to/python" >&2; exit 1; }
endef

.peer/ready: constraints.txt
	$(call environment,.peer)
	.peer/bin/pip install --disable-pip-version-check --constraint constraints.txt torch torchvision robustness==1.2.1.post2
	touch .peer/ready

$(READY): pyproject.toml constraints.txt
	$(call environment,$(VENV))
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)
