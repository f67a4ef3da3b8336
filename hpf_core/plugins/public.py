"""The public datasets that plugins register, and the layout of a folder among theirs."""

from __future__ import annotations

from pathlib import Path

from hpf_core.data.layouts.base import Layout
from hpf_core.data.layouts.find import find_own_layout
from hpf_core.errors import InputError, nearest
from hpf_core.interfaces import PublicData
from hpf_core.plugins.host import PluginHost


def public_datasets(host: PluginHost) -> dict[str, PublicData]:
    """What plugins state about the public datasets that they read, by the datasets' names."""
    return {one.spec.name: one.spec.public for one in host.registered("dataset") if one.spec.public is not None}


def find_layout(root: Path, host: PluginHost, name: str | None = None) -> Layout | None:
    """The layout of a folder: a `rig.yaml`, or a public dataset of calibrated cameras; None for NYU's and others.

    Args:
        root: the folder.
        host: the plugins whose datasets are asked, in their order.
        name: the dataset, or "capture" or "nyu"; None to find it from the folder's files.

    Raises:
        DataError: the description of the cameras is wrong, or no image matches it.
        InputError: no layout has this name, or the folder isn't of this layout.
    """
    known = {key: public.layout for key, public in public_datasets(host).items() if public.layout is not None}
    names = ("capture", "nyu", *known)
    if name is not None and name not in names:
        raise InputError(f"--layout is {name!r}. {nearest(name, names)}")
    if name == "nyu":
        return None
    found = find_own_layout(root) if name in (None, "capture") else None
    for key, layout in known.items():
        if found is None and name in (None, key):
            found = layout(root)
    if found is None and name is not None:
        raise InputError(f"{root} isn't a folder of '{name}': see `hpf data list` for the files that it needs.")
    return found
