"""A program that stands where `az` stands: it knows the words of its reference, and what an endpoint has.

The state is a JSON file, and what is said to it is written down. A deployment whose image is called `broken` does not
come up, as Azure's does not whose container crashes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.deployments.production.clouds.reference import complaints

STATE = "AZ_STATE"


def main(words: list[str]) -> int:
    """Do what the words say; returns the exit status."""
    place = Path(os.environ[STATE])
    state: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {"said": [], "endpoints": {}}
    state["said"].append(words)
    try:
        if said := complaints(["az", *words], "az.json"):
            print("\n".join(f"ERROR: {each}" for each in said), file=sys.stderr)
            return 2
        answer = _act(words, state)
    except (LookupError, ValueError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 3
    finally:
        place.write_text(json.dumps(state))
    print(json.dumps(answer))
    return 0


def _act(words: list[str], state: dict[str, Any]) -> Any:
    given = dict(word.partition("=")[::2] for word in words if word.startswith("--"))
    group, verb = words[1], words[2] if len(words) > 2 else ""
    document = yaml.safe_load(Path(given["--file"]).read_text()) if "--file" in given else {}
    endpoints = state["endpoints"]
    if words[:2] == ["acr", "login"]:
        return None
    if group == "online-endpoint":
        return _endpoint(verb, given, document, endpoints, state)
    below = endpoints[given.get("--endpoint-name") or document["endpoint_name"]]["deployments"]
    if verb == "list":
        return list(below.values())
    if verb == "delete":
        return below.pop(given["--name"])
    if (document["name"] in below) is (verb == "create"):
        raise ValueError(f"The deployment {document['name']} is {'there already' if verb == 'create' else 'not there'}")
    below[document["name"]] = document
    if "broken" in document["environment"]["image"]:
        raise ValueError("(ResourceNotReady) User container has crashed or terminated")
    return document


def _endpoint(verb: str, given: dict[str, str], document: Any, endpoints: dict[str, Any], state: dict[str, Any]) -> Any:
    if verb == "list":
        return list(endpoints.values())
    if verb == "create":
        endpoints[document["name"]] = document | {"deployments": {}, "traffic": {}}
        return document
    endpoint = endpoints[given["--name"]]
    if verb == "delete":
        return endpoints.pop(given["--name"])
    if verb == "invoke":
        if given["--deployment-name"] not in endpoint["deployments"]:
            raise ValueError("no such deployment")
        return json.dumps(state.get("answer", {"predictions": [1.0]}))
    name, _, share = given["--traffic"].partition("=")
    if name not in endpoint["deployments"]:
        raise ValueError("traffic to a deployment that is not there")
    endpoint["traffic"] = {name: int(share)}
    return endpoint


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
