"""What every run shares: interfaces, geometry, recipes, the engine. Knows no plugin by name."""

DISTRIBUTION = "hand-pose-fitting"
"""The name that pip knows. Imports, the command and the label of HPF's own plugins are `hpf`."""

__version__ = "0.1.0"
