#!/usr/bin/env bash
# From nothing to a tested build: packages, model, release build, all tests, then what ASan, UBSan, TSan
# and a minute of fuzzing find. Under 40 minutes on two cores. Arguments go to ctest (for example -R policy);
# then it ends with the tests.
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"
started=$SECONDS
step() { say "$* (after $((SECONDS - started)) s)"; }

step "packages"
scripts/setup.sh --fuzz
scripts/list_dependencies.sh --check
step "model"
scripts/fetch_model.sh
step "prometheus"
scripts/fetch_prometheus.sh
step "python environment"
scripts/python_env.sh
step "scripts parse"
for script in scripts/*.sh docker/*.sh .ci/run; do bash -n "$script"; done
for script in scripts/*.py tests/*.py tests/*/*.py; do
  [ -e "$script" ] || continue
  python3 - "$script" <<'PY'
import ast, sys
ast.parse(open(sys.argv[1], encoding="utf-8").read(), sys.argv[1])
PY
done
echo "ok"
step "build"
scripts/build.sh release
step "tests"
ctest --preset release --no-tests=error -j "$JOBS" "$@"
if [ $# -eq 0 ]; then
  step "sanitizers"
  scripts/sanitize.sh
  step "fuzzing"
  scripts/fuzz.sh 7
  step "soak"
  python3 scripts/soak.py --server build/release/server/kvpareto-server \
    --client build/release/clients/cli/kvpareto --seconds 110
fi
step "done"
