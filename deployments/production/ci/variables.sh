# shellcheck shell=bash
# Sourced by the scripts beside it: the variables of the CI's environment are looked at before anything is done.
# docs/pipelines.md lists them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

fail() {
  echo "$*" >&2
  exit 2
}

if [ -z "${EVERGREEN_ENVIRONMENT+set}" ]; then
  fail "EVERGREEN_ENVIRONMENT is not set. Name the environment in the job, such as staging; empty is the one without a name."
fi
# A secret that does not exist arrives as an empty text, which some libraries take for a login.
for name in $(compgen -e); do
  case "$name" in
    AWS_* | EVERGREEN_* | MLFLOW_* | PREFECT_*) [ -n "${!name}" ] || unset "$name" ;;
  esac
done
# Without one of them the job would work on a server, a lake or a registry of its own, and end well.
for name in PREFECT_API_URL EVERGREEN_LAKE EVERGREEN_TRACKING_URI; do
  if [ -z "${!name:-}" ]; then
    fail "$name is not set. Give it to the CI's environment for ${EVERGREEN_ENVIRONMENT:-production}: docs/pipelines.md says where."
  fi
done
