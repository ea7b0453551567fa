#!/usr/bin/env bash
# The published checkpoint `spineseg`, from nothing but this package: simulated films only, two CPU cores.
# Cost and scores are in checkpoints/spineseg.json; resume a run that was cut short by adding --resume.
set -euo pipefail
work="${1:-runs/spineseg}"
python -m spineseg simulate --out "$work/films" --count 3000 --seed 100 --rows 768
python -m spineseg train --data "$work/films" --out "$work/run" --epochs 12 --seed 1
