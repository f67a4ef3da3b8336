"""What this machine has, and whether HPF computes the right values on each of its devices (`hpf doctor`)."""

from hpf_core.doctor.checks import Check, Tolerances
from hpf_core.doctor.examine import choose_devices, examine
from hpf_core.doctor.machine import describe

__all__ = ["Check", "Tolerances", "choose_devices", "describe", "examine"]
