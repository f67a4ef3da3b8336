"""Prints a banner when it is imported, and takes standard output away."""

import sys

from hpf.plugin import Config, PluginSpec, Refiner, hookimpl

print("welcome to hpf-noisy")
sys.stdout = None


class NoConfig(Config):
    """No options."""


class Noisy(Refiner):
    def forward(self, points):
        print("refining")
        return points


@hookimpl
def hpf_refiners():
    print("offering a refiner")
    spec = {"kind": "refiner", "name": "noisy", "config": NoConfig, "factory": lambda config, build: Noisy()}
    return [PluginSpec(**spec, summary="Says much.", source="own work", interface=(2, 0))]
