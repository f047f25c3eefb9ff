"""Logs for programs: one JSON object a line."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

from trm_deploy.support.jsontext import dumps


class JsonLines(logging.Formatter):
    """A record as a JSON object: time, level, message, and the `fields` of its `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        document = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return dumps(document)
