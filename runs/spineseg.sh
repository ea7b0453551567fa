#!/usr/bin/env bash
# The published checkpoint `spineseg`: simulated films only, two CPU cores (AMD EPYC with avx512_bf16), about nine hours.
#
# Usage: runs/spineseg.sh WORK MESHES [FILMS]. MESHES: the bone meshes that spineseg/simulate/bones.py names (Remus et al. 2021).
# FILMS: labelled films to score on.
#
# Eleven trainings, each from the weights of the one before, because the simulator was mended between them after looking at where
# they failed. Films depend on the simulator's commit and the order of films on the training code's, so today's code gives other
# bytes and much the same network. What ran: run1 at 0a9793a (stopped by hand after 6 epochs), run2 at 5532cdd; run3 (one epoch of
# five), run4 (two of five) and run5 with the training code of 721ea62, sim3 with a simulator between 721ea62 and aafc31a, mesh4
# with that of aafc31a; sim5, mesh6 and run6 at 3bd8c0e, on one thread of a busy machine; sim7, mesh8 and run7 at d0f6e0e; sim17, mesh18 and
# run12 at 94c9c58, run13 at b3ca94a, run14 at 0d73407, run15 at 197727d, each on one thread.
set -euo pipefail
work="${1:-runs/spineseg}"
meshes="${2:?folder of bone meshes}"
# mix WHOLE PART ...: a folder of the films of several.
mix() {
  local whole="$work/$1" part
  mkdir -p "$whole/img" "$whole/label"
  for part in "${@:2}"; do
    ln -f "$work/$part/img/"* "$whole/img/"
    ln -f "$work/$part/label/"* "$whole/label/"
  done
}

python -m spineseg simulate --out "$work/sim1" --count 3000 --seed 100 --rows 768
python -m spineseg train --data "$work/sim1" --out "$work/run1" --from scratch --epochs 12 --stop-after 6 --seed 1
python -m spineseg simulate --out "$work/sim2" --count 3000 --seed 200 --rows 768
python -m spineseg train --data "$work/sim2" --out "$work/run2" --from "$work/run1/last.safetensors" \
  --tune all --keep 0 --batch 8 --epochs 5 --learning-rate 1.2e-3 --warmup-steps 50 --seed 2
python -m spineseg simulate --out "$work/sim3" --count 3000 --seed 3 --rows 768
python -m spineseg train --data "$work/sim3" --out "$work/run3" --from "$work/run2/last.safetensors" \
  --tune all --keep 0 --batch 8 --epochs 5 --stop-after 1 --learning-rate 1.2e-3 --warmup-steps 50 --seed 3
python -m spineseg simulate --out "$work/mesh4" --count 2000 --seed 4 --rows 768 --meshes "$meshes"
mix mix34 sim3 mesh4
python -m spineseg train --data "$work/mix34" --out "$work/run4" --from "$work/run3/last.safetensors" \
  --tune all --keep 0 --batch 8 --epochs 5 --stop-after 2 --learning-rate 1.5e-3 --warmup-steps 50 --seed 4
python -m spineseg train --data "$work/mix34" --out "$work/run5" --from "$work/run4/last.safetensors" \
  --tune all --keep 0 --batch 8 --epochs 2 --learning-rate 1.2e-3 --warmup-steps 50 --seed 5
python -m spineseg simulate --out "$work/sim5" --count 2600 --seed 5 --rows 768
python -m spineseg simulate --out "$work/mesh6" --count 1900 --seed 6 --rows 768 --meshes "$meshes"
mix mix56 sim5 mesh6
python -m spineseg train --data "$work/mix56" --out "$work/run6" --from "$work/run5/last.safetensors" \
  --tune all --keep 0 --batch 8 --epochs 3 --learning-rate 1.2e-3 --warmup-steps 50 --seed 6
python -m spineseg simulate --out "$work/sim7" --count 4000 --seed 7 --rows 768
python -m spineseg simulate --out "$work/mesh8" --count 2500 --seed 8 --rows 768 --meshes "$meshes"
mix mix78 sim7 mesh8
python -m spineseg train --data "$work/mix78" --out "$work/run7" --from "$work/run6/last.safetensors" \
  --tune all --keep 0 --batch 8 --epochs 4 --learning-rate 1.2e-3 --warmup-steps 50 --seed 7
# Two films in five show a sick spine from here on.
python -m spineseg simulate --out "$work/sim17" --count 4500 --seed 17 --rows 768
python -m spineseg simulate --out "$work/mesh18" --count 3500 --seed 18 --rows 768 --meshes "$meshes"
mix mix1718 sim17 mesh18
# Slips so far that L5 lies below S1, and bodies in pieces.
for film in S017-00134 S017-01963 S018-02015 S018-02464 S018-02786; do rm -f "$work"/mix1718/{img,label}/"$film".*; done
python -m spineseg train --data "$work/mix1718" --out "$work/run12" --from "$work/run7/last.safetensors" \
  --tune all --keep 0 --batch 8 --epochs 3 --learning-rate 1.2e-3 --warmup-steps 50 --seed 12
# A third of the films as close-ups; half of the weights before stay.
ls "$work/mix1718/img" | sed 's/\.[^.]*$//' | shuf -n 2500 --random-source=<(yes) > "$work/close.txt"
xargs python -m tools.close_ups "$work/mix1718" "$work/close19" 19 < "$work/close.txt"
mix mix13 mix1718 close19
while read -r film; do rm -f "$work"/mix13/{img,label}/"$film".*; done < "$work/close.txt"
python -m spineseg train --data "$work/mix13" --out "$work/run13" --from "$work/run12/last.safetensors" \
  --tune all --keep 0.5 --batch 8 --epochs 4 --learning-rate 1e-3 --warmup-steps 50 --seed 13
# Borders and discs as further targets, S1's lower edge hidden at random.
python -m experiments.auxiliary_maps --data "$work/mix1718" --out "$work/run14/last.safetensors" \
  --from "$work/run13/last.safetensors" --epochs 4 --keep 0.2 --seed 14
# Bodies in a dark lung besides.
python -m experiments.auxiliary_maps --data "$work/mix1718" --out "$work/run15/last.safetensors" \
  --from "$work/run14/last.safetensors" --epochs 4 --keep 0.2 --seed 15
python -m benchmarks.accuracy --checkpoint "$work/run15/last.safetensors" --meshes "$meshes" \
  ${3:+--films "$3"} --json "$work/accuracy.json"
python -m tools.publish_checkpoint "$work/run15/last.safetensors" "$work/accuracy.json" --name spineseg --most-traces 0.47 \
  --description "Default model. Trained on simulated films only; it has seen no patient's film. Some of its simulated bones are \
projected from meshes of the Visible Human (Remus et al. 2021, PLoS ONE 16(4):e0250456, BSD-3-Clause)."
