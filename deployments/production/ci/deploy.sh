#!/usr/bin/env bash
# Brings the deployments and automations of the commit that is checked out to the environment's Prefect server.
source "$(dirname "${BASH_SOURCE[0]}")/variables.sh"

.venv/bin/evergreen doctor ||
  fail "Nothing was deployed to ${EVERGREEN_ENVIRONMENT:-production}: each line with 'fix' above says what is wrong."
.venv/bin/evergreen deployments apply
.venv/bin/evergreen automations sync
