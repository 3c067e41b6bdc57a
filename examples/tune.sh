#!/bin/sh
# Teaches the demonstration model proverbs, and writes with the new model: under two minutes on two cores.
#
# Everything lies in a new folder, or in INKMILL_HOME where that is set.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
INKMILL_HOME=${INKMILL_HOME:-$(mktemp -d)}
export INKMILL_HOME

inkmill tune "$here/proverbs.txt" --paragraphs --base demo --name proverbs --epochs 8 --seed 1 --sample-prompt "A"

cat > "$INKMILL_HOME/prompts.jsonl" <<'PROMPTS'
{"prompt": "A bird", "n": 3, "max_new_tokens": 24, "stop": "\n"}
{"prompt": "Do not", "n": 3, "max_new_tokens": 24, "stop": "\n"}
PROMPTS
inkmill run "$INKMILL_HOME/prompts.jsonl" --model proverbs --safety demo --seed 1 -o "$INKMILL_HOME/texts.jsonl"

echo "The model's card: $INKMILL_HOME/models/proverbs/README.md"
echo "Its texts: $INKMILL_HOME/texts.jsonl"
inkmill stop
