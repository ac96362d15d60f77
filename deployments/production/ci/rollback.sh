#!/usr/bin/env bash
# Gives the champion of MODEL back to the previous version, for the REASON that a person gave. BY is that person.
# All three come by the environment: as part of the script's text they could be commands.
source "$(dirname "${BASH_SOURCE[0]}")/variables.sh"

for name in MODEL REASON; do
  [ -n "${!name:-}" ] || fail "$name is empty, so nothing was rolled back. Start the job again with a model and a reason."
done
.venv/bin/evergreen rollback --reason="$REASON" --by="${BY:-}" -- "$MODEL"
