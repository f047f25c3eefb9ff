"""Checkpoints, ours and those of the published code: one type, and a reader for each family."""

from trm_deploy.checkpoints.base import Checkpoint
from trm_deploy.checkpoints.documents import locate
from trm_deploy.checkpoints.native import save
from trm_deploy.checkpoints.reading import load

__all__ = ["Checkpoint", "load", "save", "locate"]
