"""Checkpoints on the Hugging Face hub: names such as hf://OWNER/NAME/FILE@REVISION, fetched into a cache of our own.

names      what a name says
fetching   from a name to a file on this machine, with the hub's digest compared
fetched    what lies beside a fetched file: where it came from
catalogue  public checkpoints, and what is known of them
"""

from __future__ import annotations

from trm_deploy.hub.catalogue import CATALOGUE, settings_of
from trm_deploy.hub.fetched import Fetched, origin
from trm_deploy.hub.fetching import fetch, local
from trm_deploy.hub.names import is_name

__all__ = ["CATALOGUE", "Fetched", "fetch", "is_name", "local", "origin", "settings_of"]
