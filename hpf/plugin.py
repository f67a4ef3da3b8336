"""All that the author of a plugin imports; `docs/plugins.md` is the tutorial, `hpf plugins new` writes a first one.

    from hpf.plugin import Build, Config, PluginSpec, Prior, TermValue, hookimpl

Units are millimetres, axes x right, y down, z away from the camera (`docs/geometry.md`). Names that are not listed here
may change without notice.
"""

from hpf_core.data.cameras import Camera
from hpf_core.data.crop import Crop, crop
from hpf_core.data.hand_centre import fuse as fuse_centres
from hpf_core.data.hand_centre import in_cameras, in_rig, mass_centre
from hpf_core.errors import DataError, HPFError, InputError, PluginError, RecipeError, RunError, nearest
from hpf_core.files.cache import bytes_key, write_atomic
from hpf_core.frames import Estimate, Labels, RealFrames, State, SyntheticSamples, ViewIndex
from hpf_core.geometry.rigid import apply_rigid, at_least_float32, invert_rigid
from hpf_core.geometry.rotations import rotation_matrix
from hpf_core.grid import Grid
from hpf_core.hookspecs import GROUP, HOOKS, hookimpl
from hpf_core.interfaces import (
    INTERFACE_VERSION,
    KINDS,
    SURFACE_BUDGET,
    Backbone,
    BoneRanges,
    Build,
    Config,
    DataTerm,
    EvaluationProtocol,
    HandModel,
    Kind,
    Mesh,
    Observer,
    PluginSpec,
    PointPairs,
    PoseSample,
    Prior,
    PublicData,
    RealDataset,
    Refiner,
    Rendered,
    Renderer,
    StepData,
    SurfaceDistance,
    SyntheticDataset,
    Term,
    TermValue,
    Transform,
)
from hpf_core.plugins import PluginHost
from hpf_core.progress import Progress, no_progress
from hpf_core.simulation.tessellate import of_spheres

__all__ = [
    "GROUP",
    "HOOKS",
    "INTERFACE_VERSION",
    "KINDS",
    "SURFACE_BUDGET",
    "Backbone",
    "BoneRanges",
    "Build",
    "Camera",
    "Config",
    "Crop",
    "DataError",
    "DataTerm",
    "Estimate",
    "EvaluationProtocol",
    "Grid",
    "HPFError",
    "HandModel",
    "InputError",
    "Kind",
    "Labels",
    "Mesh",
    "Observer",
    "PluginError",
    "PluginHost",
    "PluginSpec",
    "PointPairs",
    "PoseSample",
    "Prior",
    "Progress",
    "PublicData",
    "RealDataset",
    "RealFrames",
    "RecipeError",
    "Refiner",
    "Rendered",
    "Renderer",
    "RunError",
    "State",
    "StepData",
    "SurfaceDistance",
    "SyntheticDataset",
    "SyntheticSamples",
    "Term",
    "TermValue",
    "Transform",
    "ViewIndex",
    "apply_rigid",
    "at_least_float32",
    "bytes_key",
    "crop",
    "fuse_centres",
    "hookimpl",
    "in_cameras",
    "in_rig",
    "invert_rigid",
    "mass_centre",
    "nearest",
    "no_progress",
    "of_spheres",
    "rotation_matrix",
    "write_atomic",
]
