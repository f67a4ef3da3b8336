"""`hpf data list`: the public datasets that HPF reads. Heavy imports belong inside the function."""

from __future__ import annotations

from hpf_cli.options import Json, NoPlugin, Quiet, Verbose


def list_datasets(
    no_plugin: NoPlugin = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """List the public datasets that HPF reads: licence, source, size, what to unpack, and how we tested the reader.

    \b
    Example:
        hpf data list
        hpf data list --json
    """
    from hpf_cli import show
    from hpf_core.plugins import PluginHost
    from hpf_core.plugins.public import public_datasets

    host = PluginHost.load(blocked=no_plugin or [])
    found = public_datasets(host)
    if as_json:
        show.emit_json({"datasets": [{"name": name, **found[name].described()} for name in sorted(found)]})
        return
    for name in sorted(found):
        public = found[name]
        show.result(f"{name}: {public.views} views, licence {public.licence}, {public.size}")
        show.result(f"  from:    {public.page}")
        show.result(f"  unpack:  {public.unpack}")
        show.result(f"  tested:  on {public.checked}")
        show.result(f"  prepare: hpf data prepare {name} FOLDER")
