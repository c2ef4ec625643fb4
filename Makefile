# The short commands. Each one works on a bare clone and prints what it runs; `make help` lists them.

SHELL := /bin/bash
BIN := .venv/bin
PYTEST_ARGS ?=
BENCH_ARGS ?=
# A person sees pip's progress; a log does not need it.
PIP := $(BIN)/python -m pip --disable-pip-version-check $(if $(CI),-qq --no-input)

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak bench docs gpu lint format lock wheel release clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.mainspring-installed ## .venv with the locked packages, the native core, the web pages, and this checkout, editable
	tools/portal.sh >/dev/null || echo "make setup: the web pages are not built; all else is there" >&2

# Stamps: a second `make setup` finds nothing newer and returns at once.
.venv/.lock-installed: requirements_lock.txt
	python=$$(tools/machine.sh) && { [[ -x $(BIN)/python ]] || "$$python" -m venv .venv; }
	$(PIP) install --requirement requirements_lock.txt
	touch $@

NATIVE_SOURCES := $(shell find native -name '*.cc' -o -name '*.h' -o -name 'sources.bzl')
.venv/.mainspring-installed: .venv/.lock-installed setup.py pyproject.toml version.bzl tools/shipped.bzl $(NATIVE_SOURCES)
	tools/machine.sh >/dev/null
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

demo: setup ## the whole platform on a year of real flights; ends by saying where to look
	$(BIN)/mainspring demo

test: setup ## unit, contract, integration, e2e and guards; one file: make test PYTEST_ARGS=core/tests/test_x.py
	# Tests have no network: what they start has to be here.
	$(BIN)/python -m mainspring.bench serving peers install triton >/dev/null || echo "make test: tests beside a real Triton server will be skipped" >&2
	tools/oidc_provider.sh >/dev/null || echo "make test: tests that log in at a real OpenID provider will be skipped" >&2
	tools/isolated.sh $(BIN)/python -m pytest -m "not soak" $(PYTEST_ARGS)

soak: setup ## what kills workers and jobs in the middle and starts them again: minutes
	tools/isolated.sh $(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

bench: setup ## the latency and throughput suites, answers checked first; BENCH_ARGS=--quick
	$(BIN)/python -m mainspring.bench native $(BENCH_ARGS)

docs: ## the site of docs/, in build/docs; a broken link, heading or page fails it
	tools/docs.sh

gpu: setup ## the kernels for GPUs that need not be here; then checked and timed where one is (build/gpu.json)
	$(BIN)/python -m mainspring.native.triton.aot --output build/triton
	$(BIN)/python native/cuda/build.py --output build/cuda || [[ $$? == 77 ]]
	$(BIN)/python -m mainspring.bench.gpu --output build/gpu.json || [[ $$? == 77 ]]

lint: setup ## ruff, clang-format, buildifier, mypy: report only
	failed=0; tools/format.sh --check || failed=1; $(BIN)/mypy || failed=1; exit $$failed

format: setup ## rewrite Python, C++ and Starlark in the house style
	tools/format.sh

lock: ## resolve requirements.in anew into requirements_lock.txt
	python=$$(tools/machine.sh) && tools/lock.sh "$$python"

wheel: setup ## dist/mainspring-*.whl, by pip
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

release: wheel ## dist/mainspring-X.Y.Z: wheel, SBOM, contracts, histories, provenance; KEY=file signs it
	$(BIN)/python tools/surface.py --check
	$(BIN)/python tools/release.py --key $(or $(KEY),$(error make release: give KEY=<Ed25519 private key in PEM>))

clean: ## forget all state and build outputs; .venv stays
	if [[ -d .mainspring && -x $(BIN)/mainspring ]]; then $(BIN)/mainspring down || true; fi
	rm -rf .mainspring build dist platform/portal/dist *.egg-info native/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f bazel-* .venv/.mainspring-installed
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and .venv, .tools and Bazel's cache of this checkout as well
	if command -v bazel >/dev/null; then bazel clean --expunge; fi
	rm -rf .venv .tools platform/portal/web/node_modules
