#!/usr/bin/env bash
# Rehearses, retrains and monitors every model on the environment's workers, and fails if a verdict is bad.
source "$(dirname "${BASH_SOURCE[0]}")/variables.sh"

.venv/bin/evergreen deployments try ||
  fail "The deployment to ${EVERGREEN_ENVIRONMENT:-production} is bad: each line with 'bad' above says what came of it."
