# Velodrome's workshop. `make` alone lists what there is.
#
#   PYTHON=3.12 (or a path)    only this Python; else each that tools/find_pythons finds
#   DRIVER=epoll|portable      only this driver (conformance); else both
#   DURATION=600               how long the mixed load of `make soak` lasts
#   SEEDS=20                   how many runs with short and interrupted calls `make torture` makes
#   ARGS="-k server -x"        more arguments for pytest, the conformance runner or the benchmarks
#   PYTHONS_ROOT=FOLDER        where `make pythons` puts newer ones, and PYTHON=3.14 finds them (.cache/pythons)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SECONDARY:  # the stamps in .venv are kept

PYTHON ?=
DRIVER ?=
DURATION ?= 600
SEEDS ?= 20
ARGS ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)

# A Python that only the root of `make pythons` has: every recipe then runs in there, at the same paths. Its C library is
# newer than this machine's, so what is built there stays apart.
PYTHONS_ROOT ?= .cache/pythons
ifneq ($(and $(PYTHON),$(if $(shell tools/find_pythons $(PYTHON)),,$(shell tools/pythons_root has $(PYTHONS_ROOT) $(PYTHON)))),)
SHELL := tools/pythons_root run $(PYTHONS_ROOT) $(SHELL)
export CARGO_TARGET_DIR := $(TARGET)/pythons
TARGET := $(CARGO_TARGET_DIR)
endif

# Words of the form VERSION=PATH; one venv for each, .venv/VERSION.
PYTHONS := $(shell tools/find_pythons $(PYTHON))
VERSIONS := $(foreach p,$(PYTHONS),$(firstword $(subst =, ,$(p))))
# What needs one Python only (lint, demo, benchmarks) takes the newest.
ONE := $(lastword $(VERSIONS))
VENV := .venv/$(or $(ONE),none)
# Those of which it is known which of uvloop's tests asyncio itself passes.
UVLOOP_VERSIONS := $(filter 3.11 3.13,$(VERSIONS))

# The pieces that have no Python in them, so they are tested where there is none.
RUST_ONLY := -p velodrome-engine -p velodrome -p velodrome-tidy
RUST_SOURCES := Cargo.toml $(wildcard Cargo.lock) pyproject.toml \
	$(shell find crates/velodrome-engine crates/velodrome crates/velodrome-python \
		-name '*.rs' -o -name '*.toml' -o -name '*.md')
PYTHON_CODE := python tests tools examples benchmarks crates/velodrome/examples

# (A comma in the words would end them, an apostrophe the shell's.)
say = @printf '\n\033[1m== %s\033[0m\n' '$(1)'
# A loop that hangs with the GIL held hears no time-out of pytest's: this one aborts, and faulthandler says where it was.
# A shell without job control starts what it puts into the background deaf to Ctrl-C, and so would be all that tests start.
pytest = VELODROME_REQUIRED=1 env --default-signal=INT timeout --foreground --signal ABRT 20m .venv/$(1)/bin/python -m pytest $(ARGS)
path_of = $(patsubst $(1)=%,%,$(filter $(1)=%,$(PYTHONS)))

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24
	@echo
	@sed -n 's/^#   /  /p' $(firstword $(MAKEFILE_LIST))

# ---------------------------------------------------------------- the venvs

# A venv belongs to one interpreter: another path for the same version begins anew.
.venv/%/.interpreter: .FORCE
	@echo '$(call path_of,$*)' | cmp -s - $@ || \
		{ rm -rf .venv/$* && mkdir -p .venv/$* && echo '$(call path_of,$*)' > $@; }

.venv/%/.tools: .venv/%/.interpreter tools/requirements.txt
	$(call say,A venv for Python $* and the tools)
	$(call path_of,$*) -m venv .venv/$*
	.venv/$*/bin/python -m pip install --quiet -r tools/requirements.txt
	@touch $@

.venv/%/.lint-tools: .venv/%/.tools tools/requirements-lint.txt
	.venv/$*/bin/python -m pip install --quiet -r tools/requirements-lint.txt
	@touch $@

.venv/%/.uvloop-tests: .venv/%/.tools tests/conformance/requirements-uvloop.txt
	.venv/$*/bin/python -m pip install --quiet -r tests/conformance/requirements-uvloop.txt
	@touch $@

# One target folder for each Python: in a shared one, each build would undo the last one's.
# The extension lies beside the Python sources, its name says for which version.
.venv/%/.built: .venv/%/.tools $(RUST_SOURCES)
	$(call say,The extension for Python $* in release mode)
	env -u CONDA_PREFIX VIRTUAL_ENV='$(CURDIR)/.venv/$*' .venv/$*/bin/maturin develop --release \
		--target-dir '$(TARGET)/python-$*'
	@touch $@

# Other people's programs get venvs of their own, to which the package that was just built is as good as installed.
$(VENV)-ecosystem/.programs: tests/ecosystem/requirements.txt
$(VENV)-suites/.programs: tests/conformance/requirements-suites.txt
$(VENV)-%/.programs: $(VENV)/.tools
	$(call say,A venv for $* on Python $(ONE))
	rm -rf $(VENV)-$* && $(call path_of,$(ONE)) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet $(patsubst %,-r %,$(filter %.txt,$^))
	echo '$(CURDIR)/python' > "$$($(VENV)-$*/bin/python -c 'import site; print(site.getsitepackages()[0])')/velodrome.pth"
	@touch $@

.PHONY: .FORCE need-python
.FORCE:
need-python:
	@test -n '$(VERSIONS)' || { echo "no Python 3.11 or later $(PYTHON:%=(asked for: %; try make pythons))" >&2; exit 1; }

.PHONY: pythons
pythons:  ## newer Pythons (3.14, 3.15) in a Debian root, for PYTHON=3.14
	tools/pythons_root make $(PYTHONS_ROOT)

# ---------------------------------------------------------------- for people

.PHONY: build
build: need-python $(VERSIONS:%=.venv/%/.built)  ## the extension in release mode, for each Python

.PHONY: run
run: need-python $(VENV)/.built  ## the echo servers of both faces, talked to by several clients at once
	$(call say,The Rust example in release mode)
	cargo build --release -p velodrome --features portable --example echo_server
	$(call say,The demonstration)
	$(VENV)/bin/python tools/run_demo.py '$(TARGET)/release/examples/echo_server'

.PHONY: test
test: lint test-rust test-demo test-python  ## lint, then every test; PYTHON= for one Python

.PHONY: test-rust
test-rust:  ## engine, Rust face and the rules of the house, with no Python on PATH
	$(call say,Rust without Python)
	tools/without_python cargo test $(RUST_ONLY) --all-features
	tools/without_python cargo test -p velodrome-engine --lib driver

.PHONY: test-demo
test-demo: need-python $(VENV)/.built
	$(call say,The examples)
	cargo build -p velodrome --features portable --examples
	$(VENV)/bin/python tools/run_demo.py '$(TARGET)/debug/examples/echo_server'

.PHONY: test-python
test-python: build  ## pytest on each Python, and once more with the portable driver
	@for version in $(VERSIONS); do \
		printf '\n\033[1m== pytest on Python %s\033[0m\n' $$version; \
		$(call pytest,$$version); \
	done
	$(call say,pytest on Python $(ONE) with the portable driver)
	VELODROME_DRIVER=portable $(call pytest,$(ONE))

.PHONY: lint
lint: need-python lint-rust lint-python stubs  ## rustfmt, clippy, rustdoc, ruff, mypy, stubtest

# The manifest has the only list of them. What is missing shows in the library alone: tests bring dependencies of their own.
FEATURES = $(shell sed -n '/^\[features\]/,/^\[dep/ s/^\([a-z][a-z0-9-]*\) *=.*/\1/p' crates/velodrome/Cargo.toml)

.PHONY: features
features:  ## the Rust face with each of its features alone, and with none
	$(call say,The Rust face with each feature alone)
	@test -n '$(FEATURES)' || { echo 'the manifest of crates/velodrome shows no features' >&2; exit 1; }
	@for feature in '' $(FEATURES); do \
		echo "feature: $${feature:-none}"; \
		cargo clippy --quiet -p velodrome --lib --no-default-features --features "$$feature" -- -D warnings; \
	done

.PHONY: lint-rust
lint-rust: need-python $(VENV)/.tools features
	$(call say,rustfmt + clippy + rustdoc)
	cargo fmt --all --check
	PYO3_PYTHON='$(CURDIR)/$(VENV)/bin/python' cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy -p velodrome --all-targets -- -D warnings
	PYO3_PYTHON='$(CURDIR)/$(VENV)/bin/python' RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --all-features

.PHONY: lint-python
lint-python: need-python $(VENV)/.lint-tools
	$(call say,ruff + mypy)
	$(VENV)/bin/ruff check $(PYTHON_CODE)
	$(VENV)/bin/ruff format --check $(PYTHON_CODE)
	@for version in $(VERSIONS); do \
		echo "mypy, as Python $$version reads it"; \
		$(VENV)/bin/mypy --python-version $$version python/velodrome; \
	done

.PHONY: stubs
stubs: need-python $(VENV)/.lint-tools $(VENV)/.built  ## the type stubs, held against the binary
	$(call say,stubtest)
	$(VENV)/bin/python -m mypy.stubtest velodrome --allowlist tools/stubtest-allowlist.txt

.PHONY: format
format: need-python $(VENV)/.lint-tools  ## rustfmt and ruff put things right where they can
	cargo fmt --all
	$(VENV)/bin/ruff check --fix $(PYTHON_CODE)
	$(VENV)/bin/ruff format $(PYTHON_CODE)

.PHONY: conformance
conformance: build $(UVLOOP_VERSIONS:%=.venv/%/.uvloop-tests)  ## CPython's and uvloop's tests on our loop, each Python and driver
	$(call say,The tests of CPython)
	env --default-signal=INT $(VENV)/bin/python tests/conformance/run_cpython.py velodrome --jobs 2 \
		$(VERSIONS:%=--python .venv/%/bin/python) \
		$(foreach driver,$(or $(DRIVER),epoll portable),--driver $(driver)) $(ARGS)
ifneq ($(UVLOOP_VERSIONS),)
	$(call say,The tests of uvloop)
	env --default-signal=INT $(VENV)/bin/python tests/conformance/run_uvloop_suite.py velodrome --jobs 2 \
		$(UVLOOP_VERSIONS:%=--python .venv/%/bin/python) \
		$(foreach driver,$(or $(DRIVER),epoll portable),--driver $(driver)) $(ARGS)
endif

.PHONY: suites
suites: need-python $(VENV)/.built $(VENV)-suites/.programs  ## the tests that tornado, anyio and uvicorn publish
	$(call say,The tests of tornado + anyio + uvicorn)
	env --default-signal=INT $(VENV)-suites/bin/python tests/conformance/run_suites.py $(DRIVER:%=--driver %) $(ARGS)

.PHONY: ecosystem
ecosystem: need-python $(VENV)/.built $(VENV)-ecosystem/.programs  ## other people's programs on our loop
	$(call say,Programs from their published packages)
	env --default-signal=INT $(VENV)-ecosystem/bin/python tests/ecosystem/run.py $(ARGS)

.PHONY: soak
soak: need-python $(VENV)/.built  ## the tests that take minutes or thousands of descriptors, then mixed load for DURATION
	ulimit -n "$$(ulimit -Hn)"; $(call pytest,$(ONE)) -m slow --timeout 1200
	$(call say,Mixed load)
	$(VENV)/bin/python tests/torture/soak.py $(DURATION)

# The package with an extension that counts what is alive and can make system calls short; the one in use stays as it is.
INSTRUMENTED := $(TARGET)/instrumented
instrumented = PYTHONPATH='$(abspath $(INSTRUMENTED))' VELODROME_INSTRUMENTED=1

.PHONY: torture
torture: need-python $(VENV)/.tools  ## nothing stays alive after any test; short, interrupted and failing system calls
	$(call say,The extension with instruments)
	PYO3_PYTHON='$(CURDIR)/$(VENV)/bin/python' cargo build --release -p velodrome-python --features instruments \
		--target-dir '$(INSTRUMENTED)-target'
	rm -rf '$(INSTRUMENTED)' && mkdir -p '$(INSTRUMENTED)' && cp -r python/velodrome '$(INSTRUMENTED)'
	rm -f '$(INSTRUMENTED)'/velodrome/*.so
	cp '$(INSTRUMENTED)-target/release/libvelodrome_core.so' "$(INSTRUMENTED)/velodrome/_core$$($(VENV)/bin/python -c \
		'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')"
	$(call say,Nothing stays alive after any test)
	$(instrumented) $(call pytest,$(ONE))
	$(call say,Short and interrupted system calls)
	for seed in $$(seq $(SEEDS)); do echo "seed $$seed"; \
		$(instrumented) VELODROME_FAULTS=$$seed $(call pytest,$(ONE)) -q -m faults; done
	$(call say,Each system call fails in turn)
	$(instrumented) $(VENV)/bin/python tests/torture/nth_call.py

.PHONY: loom
loom:  ## every interleaving of what threads share, by loom
	$(call say,loom)
	RUSTFLAGS='--cfg loom' cargo test --release --target-dir '$(TARGET)/loom' -p velodrome-engine -p velodrome \
		--features velodrome/hyper --lib model

SANITIZED = --target x86_64-unknown-linux-gnu --target-dir '$(TARGET)/sanitize' \
	-p velodrome-engine -p velodrome --all-features

# Leaks are looked for as well: on this target AddressSanitizer brings LeakSanitizer along.
.PHONY: sanitize
sanitize:  ## the tests of engine and Rust face under AddressSanitizer (needs the nightly toolchain)
	$(call say,AddressSanitizer)
	RUSTFLAGS='-Zsanitizer=address' cargo +nightly build $(SANITIZED) --examples
	RUSTFLAGS='-Zsanitizer=address' cargo +nightly test $(SANITIZED) --lib --tests $(ARGS)

.PHONY: bench-rust
bench-rust:  ## the Rust face against tokio, compio and smol; ARGS=--write into RESULTS.md and its README
	cargo build --release --manifest-path benchmarks/rust/Cargo.toml --target-dir '$(TARGET)/bench-rust'
	cargo build --release -p velodrome-load
	cc -O2 -o '$(TARGET)/bench-rust/floor' benchmarks/servers/floor.c
	python3 benchmarks/rust/run.py --program '$(TARGET)/bench-rust/release/velodrome-bench' \
		--load '$(TARGET)/release/velodrome-load' --floor '$(TARGET)/bench-rust/floor' $(ARGS)

.PHONY: bench
bench: need-python $(VENV)/.built  ## against asyncio, uvloop and others: the whole table
	$(VENV)/bin/python benchmarks/run.py --python '$(call path_of,$(ONE))' $(ARGS)

.PHONY: bench-quick
bench-quick: need-python $(VENV)/.built  ## the same with fewer and shorter rows
	$(VENV)/bin/python benchmarks/run.py --python '$(call path_of,$(ONE))' --quick $(ARGS)

.PHONY: clean
clean:  ## everything that was built or installed
	cargo clean
	rm -rf .venv results .mypy_cache .ruff_cache
	rm -f python/velodrome/_core.*.so
	find python tests tools examples benchmarks -name __pycache__ -prune -exec rm -rf {} +
