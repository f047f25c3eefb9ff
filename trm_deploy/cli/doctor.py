"""`trm-deploy doctor`."""

from __future__ import annotations

from trm_deploy.cli.options import (
    Json,
    print_document,
)


def doctor(as_json: Json = False) -> None:
    """Say what this machine can do, and how to get what is missing."""
    from trm_deploy.inspection.artefact import doctor

    print_document(doctor(), as_json)
