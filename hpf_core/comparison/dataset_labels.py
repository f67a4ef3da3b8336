"""The annotation of a dataset's own folder, for predictions that are measured against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpf_core.errors import DataError
from hpf_core.evaluation.joint_txt import LabelSet, read_labels
from hpf_core.evaluation.protocols import TextProtocol


def labels_of(path: Path, protocol: TextProtocol) -> LabelSet:
    """The labels of a file, or of the split `test` of a dataset's folder, which must be the protocol's dataset.

    Joints of frames without labels are NaN. They count as frames, so that lines of predictions fit.

    Raises:
        DataError: the labels are missing or unreadable, or the folder is another dataset's.
    """
    if not path.is_dir() or protocol.name in ("nyu", "msra"):
        return read_labels(path, protocol)
    # Local imports, because text files need no layout, and their commands start faster without.
    from hpf_core.data.layouts.base import annotation_of, select
    from hpf_core.data.layouts.single_view import SingleViewLayout
    from hpf_core.plugins import PluginHost
    from hpf_core.plugins.public import find_layout

    layout = find_layout(path, PluginHost.load(only=[]))
    if not isinstance(layout, SingleViewLayout):
        raise DataError(f"{path} is a folder, but not one of {protocol.title}. Give it, or a text file of labels.")
    if layout.name != protocol.name:
        raise DataError(f"{path} is the dataset '{layout.name}', but the protocol is {protocol.name}.")
    if "test" not in layout.splits():
        raise DataError(f"{path} has no frame of the split `test`: {layout.format}.")
    found = annotation_of(layout, "test")
    xyz = found.xyz[0][:, select(found.names, protocol.joints, found.file)]
    if not np.isfinite(xyz).all(axis=(1, 2)).any():
        raise DataError(f"{found.file} has no annotated frame.")
    about = layout.about()
    subject = np.concatenate([np.full(part.frames, part.subject) for part in about.segments["test"]])
    names = {number: about.subject_names[number] for number in sorted(set(subject.tolist()))}
    return LabelSet(xyz, subject, names) if len(names) > 1 else LabelSet(xyz, None, {})
