"""Recommenders to be measured against, behind one interface, and the controls that must score like chance."""

from collections.abc import Callable
from importlib import import_module

from learner.evaluation.system import System

# Name of a system to where it lives. Imported when asked for: some need torch.
_BASELINES = {
    "popularity": ("popularity", "Popularity"),
    "item_knn": ("item_knn", "ItemKnn"),
    "sequence_rules": ("sequence_rules", "SequenceRules"),
    "vmis_knn": ("vmis_knn", "VmisKnn"),
    "ials": ("ials", "Ials"),
    "sasrec": ("sasrec", "SasRec"),
    "blend": ("blend", "Blend"),
}
_CONTROLS = {"random": ("controls", "Random"), "shuffled_history": ("controls", "ShuffledHistory")}

BASELINES = tuple(_BASELINES)
SINGLE_BASELINES = tuple(name for name in _BASELINES if name != "blend")
CONTROLS = tuple(_CONTROLS)


def baseline(name: str) -> Callable[[], System]:
    """The maker of a baseline or control. Raises KeyError for any other name."""
    module, cls = (_BASELINES | _CONTROLS)[name]
    maker: Callable[[], System] = getattr(import_module(f"learner.evaluation.baselines.{module}"), cls)
    return maker
