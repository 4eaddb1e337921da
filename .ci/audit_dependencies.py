"""Ask the open database of vulnerabilities (osv.dev) about every version in requirements.lock.

    python .ci/audit_dependencies.py

Exit status 1 if a fault of a pinned version is known that is not in ACCEPTED. Without a network nothing is asked, which
one sentence says.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICE = "https://api.osv.dev/v1/querybatch"
PATIENCE_SECONDS = 20
# Identifier of a fault to the reason why it does not concern this project.
ACCEPTED: dict[str, str] = {}


def main(service: str = SERVICE) -> int:
    """Entry point; returns the exit status."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock, re.MULTILINE)
    asked = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in pins]
    request = urllib.request.Request(
        service, json.dumps({"queries": asked}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
            answers = json.load(reply)["results"]
        faults = [
            f"{name} {version}: {fault['id']}"
            for (name, version), answer in zip(pins, answers, strict=True)
            for fault in answer.get("vulns", [])
            if fault["id"] not in ACCEPTED
        ]
    # No answer (urllib's errors are OSErrors), or one that is none of the database's, as a gateway gives it.
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else repr(error)
        print(f"The dependencies were not audited: {service} does not answer ({reason}); run it where it does.")
        return 0
    for fault in faults:
        print(f"{fault} (https://osv.dev/vulnerability/{fault.rsplit(' ', 1)[1]})")
    print(f"{len(pins)} pinned packages, {len(faults)} known faults.")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
