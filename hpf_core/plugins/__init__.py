"""The plugin host: finds plugins by entry point, validates them, and reports errors of invalid plugins."""

from hpf_core.plugins.host import PluginHost
from hpf_core.plugins.options import Option, describe_options
from hpf_core.plugins.records import PluginRow, PluginWarning, Registered, normalise

__all__ = ["Option", "PluginHost", "PluginRow", "PluginWarning", "Registered", "describe_options", "normalise"]
