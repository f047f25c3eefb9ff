"""Checkpoints of the published TRM and HRM code: `step_N`, a bare state dict, with its configuration beside it.

    step_N           state dict, or one inside a training file; wrappers leave prefixes on its keys
    all_config.yaml  the run's configuration; its `arch` holds the network's settings
    dataset.json     of the dataset that it was trained on: sequence length, vocabulary, puzzle identifiers

What the weights do not show comes from these files or from flags (`--set arch.H_cycles=3`), never from a guess: a
wrong one loads without complaint and answers wrongly. What is said twice is compared. What the published classes do
with these settings is in their sources: models/recursive_reasoning/trm.py of SamsungSAILMontreal's
TinyRecursiveModels, models/hrm/hrm_act_v1.py of sapientinc's HRM.

Files: `finding` has where the weights are in a file, `names` the published names of weights and ours, `config_files`
the files beside it, `settings` what these and the flags say, `families` how TRM and HRM differ, `reading` makes a spec
of them, `rotary` looks at tables that are passed over.
"""

from trm_deploy.checkpoints.published.finding import is_published
from trm_deploy.checkpoints.published.names import published_name
from trm_deploy.checkpoints.published.reading import from_document
from trm_deploy.checkpoints.published.settings import parse_overrides

__all__ = ["is_published", "from_document", "parse_overrides", "published_name"]
