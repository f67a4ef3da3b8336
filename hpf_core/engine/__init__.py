"""A run: its folder, its stages, the one training loop, checkpoints."""

from hpf_core.engine.build import Parts, build_parts, load_init
from hpf_core.engine.run import Run
from hpf_core.engine.step import Batch, compute
from hpf_core.engine.train import StageTrainer

__all__ = ["Batch", "Parts", "Run", "StageTrainer", "build_parts", "compute", "load_init"]
