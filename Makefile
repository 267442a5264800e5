# Only what GNU make 3.81, which macOS has, knows too.

BIN := .venv/bin
# Exists once an installation has finished; every target that needs the environment asks for it.
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PYTHON :=
ARGS :=
PORT := 6006
LOGDIR := runs/train

.DEFAULT_GOAL := help
.PHONY: help setup demo audit matrix train compare predict serve gradcam scorecard tensorboard test lint check-macos bench keras export litert clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## Make .venv and install everything (PYTHON=python3.12 chooses one)
	@echo ".venv is ready"

$(INSTALLED): pyproject.toml constraints.txt
	@.ci/setup "$(PYTHON)"

demo: $(INSTALLED) ## Make faces, train cnn6 on them, print how well it does (minutes, no download)
	@$(BIN)/python -m detector.train experiment=demo $(ARGS)
	@echo 'next, on photographs make train ARGS="model=cnn6 data=hardfake"'

audit: $(INSTALLED) ## What could a network cheat with? make audit ARGS="data=hardfake"
	$(BIN)/python -m detector.audit $(ARGS)

matrix: $(INSTALLED) ## Networks by sets: make matrix ARGS="'ckpts=[RUN,RUN]' sets=[ciplab,hardfake]"
	$(BIN)/python -m detector.matrix $(ARGS)

predict: $(INSTALLED) ## Is it fake? make predict IMG=photo.jpg, or a folder (CKPT=runs/train/..)
	@$(BIN)/python -m detector.predict 'inputs="$(IMG)"' $(if $(CKPT),'ckpt="$(CKPT)"') $(ARGS)

serve: $(INSTALLED) ## Open the page: drop a picture, read an answer (ARGS="serve.port=8000")
	@$(BIN)/python -m detector.serve $(if $(CKPT),'ckpt="$(CKPT)"') $(ARGS)

gradcam: $(INSTALLED) ## Where it looks: make gradcam IMG=easy_107_1011.jpg (CKPT=best.ckpt)
	$(BIN)/python -m detector.gradcam 'image="$(IMG)"' $(if $(CKPT),'ckpt="$(CKPT)"') $(ARGS)

scorecard: $(INSTALLED) ## How far heatmaps can be believed: make scorecard ARGS="data=ciplab"
	$(BIN)/python -m detector.gradcam mode=scorecard $(if $(CKPT),'ckpt="$(CKPT)"') $(ARGS)

train: $(INSTALLED) ## Train: make train ARGS="model=cnn6 data=hardfake"
	$(BIN)/python -m detector.train $(ARGS)

compare: $(INSTALLED) ## Is one better? make compare ARGS="runs=[runs/train/..,runs/train/..]"
	$(BIN)/python -m detector.compare $(ARGS)

tensorboard: $(INSTALLED) ## Show the curves of all runs in a browser (PORT=6006 LOGDIR=runs/evaluate)
	$(BIN)/tensorboard --logdir $(LOGDIR) --port $(PORT)

test: $(INSTALLED) ## Set up and run the whole test suite (ARGS="-k split" for a part)
	$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED) ## Check the code's style
	$(BIN)/ruff check .

bench: $(INSTALLED) ## Measure speed and memory, alone on the machine (ARGS="cnn6 growth" for a part)
	$(BIN)/python benchmarks/speed/bench.py $(ARGS)

keras: ## Make .venv-keras, which `make bench` measures cnn2 beside
	python3 -m venv .venv-keras
	.venv-keras/bin/python -m pip --disable-pip-version-check install --quiet "keras==3.*" "tensorflow-cpu>=2.18" pillow

# -r constraints.txt asks for every pin, not only for those that detector needs. Two packages come
# without wheels, and pip makes none for another platform, so they are made first (pure Python).
# torch 2.14 is what asks for macOS 14.
check-macos: $(INSTALLED) ## Show that the pins resolve on macOS 14 on arm64 (dry run of pip)
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	$(PIP) wheel --quiet --no-deps -c constraints.txt --wheel-dir "$$dir" \
	    antlr4-python3-runtime grad-cam && \
	for version in 3.11 3.12 3.13; do \
	    $(BIN)/python .ci/pip_as_macos.py $$version --disable-pip-version-check install --dry-run \
	        --target "$$dir/none" --python-version $$version --platform macosx_14_0_arm64 \
	        --only-binary=:all: --find-links "$$dir" \
	        -r constraints.txt -c constraints.txt '.[test,pretrained,page,export]' > "$$dir/log" 2>&1 && \
	    awk -v v=$$version '/^Would install/ { n = NF - 2; \
	        print "macOS arm64, Python " v ": " n " packages resolve" } END { exit !n }' "$$dir/log" || \
	    { cat "$$dir/log"; exit 1; }; \
	done

export: $(INSTALLED) ## The network as a checked ONNX file (CKPT=run folder ARGS="int8=true")
	$(BIN)/python -m detector.export $(if $(CKPT),'ckpt="$(CKPT)"') $(ARGS)

# Its own environment, for the 7 GB, and as litert-torch 0.10 needs typing-extensions below 4.13 while
# constraints.txt has 4.16, which pydantic 2.14 needs. Without these pins all fit into one.
litert: ## Make .venv-litert, whose python -m detector.export format=litert writes files for phones
	python3 -m venv .venv-litert
	.venv-litert/bin/python -m pip --disable-pip-version-check install --quiet -e '.[export,litert]' \
	    "torch==2.14.1" "torchvision==0.29.2"

clean: ## Delete caches and builds (not .venv, not runs)
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +
