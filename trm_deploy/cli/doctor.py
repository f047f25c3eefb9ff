"""`trm-deploy doctor`."""

from __future__ import annotations

from trm_deploy.cli.options import (
    Json,
    print_document,
)


def doctor(as_json: Json = False) -> None:
    """Show what this machine can run, and how to install what is missing."""
    from trm_deploy.inspection.doctor import doctor

    print_document(doctor(), as_json)
