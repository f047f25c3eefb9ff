"""How the two published classes differ, as far as a checkpoint shows it: one row each."""

from __future__ import annotations

from dataclasses import dataclass

from trm_deploy.spec import Networks


@dataclass(frozen=True)
class Family:
    """A published class.

    Attributes:
        name: for messages.
        classes: module and class, as `arch.name` has them: `recursive_reasoning.trm@...`.
        levels: its networks, by the published prefix of their weights: "L" updates z, "H" updates y.
        networks: our word for whether the levels share one network.
        settings: those that it has and the other class does not.
        always_continues: it always has a logit to continue, which halting compares with; else a setting says so.
        positions: the position encodings that its code can run with attention, by their published names.
        prefix_is_rounded: its prefix is always as long as the rows of the puzzle table need; else a setting says so.
    """

    name: str
    classes: tuple[tuple[str, str], ...]
    levels: tuple[str, ...]
    networks: Networks
    settings: tuple[str, ...]
    always_continues: bool
    positions: tuple[str, ...]
    prefix_is_rounded: bool


TRM = Family(
    name="TRM",
    classes=(("trm", "TinyRecursiveReasoningModel_ACTV1"),),
    levels=("L",),
    networks="shared",
    settings=("arch.no_ACT_continue", "arch.mlp_t"),
    always_continues=False,
    positions=("rope", "learned", "none"),
    prefix_is_rounded=False,
)
HRM = Family(
    name="HRM",
    classes=(("hrm", "HierarchicalReasoningModel_ACTV1"), ("hrm_act_v1", "HierarchicalReasoningModel_ACTV1")),
    levels=("L", "H"),
    networks="separate",
    settings=(),
    always_continues=True,
    positions=("rope", "learned"),
    prefix_is_rounded=True,
)
FAMILIES = (TRM, HRM)
CLASSES = {entry: family for family in FAMILIES for entry in family.classes}
