# Two commands do everything, set-up included: `make demo` and `make test`.
# A fresh Linux machine needs Python 3.11 to 3.13, git, make and a compiler.

UV_VERSION := 0.12.24
PYTHON := $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
UV := .uv/bin/uv
DURA := .venv/bin/dura
DEMO_OUT ?= runs/demo
CRASH_POINTS ?= 80
CRASH_TURN ?= 0

.PHONY: demo test test-all test-crash test-transcript test-hostile test-sftp-round fuzz bench-step bench-wire bench-flags bench-reports bench-audit bench-ledger lint format setup sandbox sshd clean
.DEFAULT_GOAL := demo

demo: setup
	@$(DURA) demo --out $(DEMO_OUT) --replace

test: lint sshd
	.venv/bin/python -m pytest -n 2 --cov --cov-report=term --cov-fail-under=90

# Everything, at full size: hours on two cores, and root for the round over SFTP.
test-all: test test-hostile test-sftp-round test-crash test-transcript

# Every attack of docs/attacks.md, against stock syft and against Dura, and the long fuzz run.
test-hostile: setup fuzz
	.venv/bin/python -m pytest -n 2 --moves $(or $(MOVES),20000) tests/hostile tests/docs/test_attacks.py \
		tests/datasites/sandbox tests/datasites/syftnet tests/datasites/agent/test_peers.py \
		tests/datasites/agent/test_refusals.py tests/datasites/agent/test_outputs.py \
		tests/datasites/agent/test_unsafe.py tests/datasites/test_doctor.py

fuzz: setup
	.venv/bin/python -m pytest -n 2 tests/hostile/test_fuzz.py --fuzz-messages 10000

# Two hospitals and a researcher in network namespaces over OpenSSH; needs root.
test-sftp-round: setup sshd
	@command -v ip >/dev/null || sh .ci/install iproute2
	.venv/bin/python -m pytest -n 0 -q tests/end_to_end/sftp_round.py

# Seconds for a 45 MB weight file, storage on the relay, what an idle site costs.
bench-wire: setup
	@.venv/bin/python tests/bench_wire.py

# Whole studies on 200 pairs of neighbouring data sets: everything that leaves but noised values is equal.
test-transcript: setup
	.venv/bin/python -m pytest -n 2 --timeout=0 tests/transcript --transcript-pairs=$(or $(PAIRS),200)

# Death at CRASH_POINTS step boundaries of a study over three hospitals; a few minutes.
# CRASH_TURN=1, 2, ... takes other points and other faults.
test-crash: setup
	.venv/bin/python -m pytest -n 2 --timeout=0 -rA tests/crash --crash-points=$(CRASH_POINTS) \
		--crash-turn=$(CRASH_TURN)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# What a step with privacy costs beside the same step without, and beside Opacus' own.
bench-step: setup
	@.venv/bin/python -W ignore -m tests.bench_step

bench-audit: setup
	.venv/bin/python -m tests.privacy.bench_audit

# False alarms on real images that were held out, detection of spoiled ones: make bench-flags DATA=FOLDER
bench-flags: setup
	@test -n "$(DATA)" || { echo "give DATA=FOLDER, real images with one folder a class"; exit 2; }
	@rm -rf runs/flags && mkdir -p runs
	@$(DURA) data split "$(DATA)" --out runs/flags --clients 1 --test 0.2
	.venv/bin/python -m tests.models.bench_flags --train runs/flags/client_A_train \
		--held-out runs/flags/client_A_test
	@rm -rf runs/flags

bench-reports: setup
	.venv/bin/python -m models.training_scripts.bench_reports

format: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

setup: .venv/.ready sandbox

.venv/.ready: uv.lock pyproject.toml | $(UV)
	$(UV) sync --frozen --python $(PYTHON)
	@touch $@

$(UV):
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.13 is needed; none was found"; exit 1; }
	@$(PYTHON) -m venv .uv >/dev/null 2>&1 || { rm -rf .uv; sh .ci/install python3-venv; \
		$(PYTHON) -m venv .uv; }
	@.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Verifies and opens a ledger of ten thousand entries; prints rates, seconds and memory.
bench-ledger: setup
	.venv/bin/python -m privacy.scripts.bench_ledger --entries $(or $(ENTRIES),10000)

sandbox:
	@command -v bwrap >/dev/null || sh .ci/install bubblewrap || \
		echo "bubblewrap is missing, so no job can run: install the package 'bubblewrap' as root"

# The tests start OpenSSH's server on loopback, on a free port; no service is started.
sshd:
	@PATH="$$PATH:/usr/sbin:/sbin" command -v sshd >/dev/null || sh .ci/install openssh-server || \
		echo "OpenSSH's server is missing, so tests will fail: install 'openssh-server' as root"

clean:
	rm -rf .uv .venv runs .coverage* .mypy_cache .ruff_cache .hypothesis
