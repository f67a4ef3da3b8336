"""The interface of each kind of plugin, one file for each. Read a kind's file before you write a plugin of that kind;
`docs/plugins.md` is the tutorial.

Every object with tensors is a `torch.nn.Module`, so that one `.to(device)` moves it. Nothing here depends on the global
random state: functions that draw random numbers take a `torch.Generator`.
"""

from hpf_core.interfaces.backbone import Backbone
from hpf_core.interfaces.datasets import EvaluationProtocol, RealDataset, SyntheticDataset
from hpf_core.interfaces.hand import BoneRanges, HandModel, Mesh, PointPairs, PoseSample
from hpf_core.interfaces.observer import Observer
from hpf_core.interfaces.refiner import Refiner
from hpf_core.interfaces.renderer import Rendered, Renderer, SurfaceDistance
from hpf_core.interfaces.specification import INTERFACE_VERSION, KINDS, Build, Config, Kind, PluginSpec, PublicData
from hpf_core.interfaces.terms import SURFACE_BUDGET, DataTerm, Prior, StepData, Term, TermValue
from hpf_core.interfaces.transform import Transform

__all__ = [
    "INTERFACE_VERSION",
    "KINDS",
    "SURFACE_BUDGET",
    "Backbone",
    "BoneRanges",
    "Build",
    "Config",
    "DataTerm",
    "EvaluationProtocol",
    "HandModel",
    "Kind",
    "Mesh",
    "Observer",
    "PluginSpec",
    "PointPairs",
    "PoseSample",
    "Prior",
    "PublicData",
    "RealDataset",
    "Refiner",
    "Rendered",
    "Renderer",
    "StepData",
    "SurfaceDistance",
    "SyntheticDataset",
    "Term",
    "TermValue",
    "Transform",
]
