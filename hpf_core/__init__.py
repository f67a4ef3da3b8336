"""What every hand-pose-fitting run shares: interfaces, geometry, recipes, the engine. Knows no plugin by name."""

__version__ = "0.1.0"
