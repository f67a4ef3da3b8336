"""The community's text format of labels and predictions: one frame a line, u v d of each joint, separated by blanks.

u and v are pixels of the depth image, d is mm. xinghaochen/awesome-hand-pose-estimation and most published methods use
these files. HPF reads a file completely, or refuses it and names the wrong line. HPF never guesses or fills in values.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from hpf_core.errors import DataError
from hpf_core.evaluation.protocols import PROTOCOLS, TextProtocol
from hpf_core.files.cache import write_atomic

_LARGEST_FILE = 256 * 2**20  # a hundred times NYU's test set; HPF doesn't load a larger file
_LARGEST_VALUE = 1e6  # pixels or mm, far beyond every camera: keeps later arithmetic finite
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".exr")
_NYU_JOINTS = 36
_SHOWN = 60  # longest quote of a wrong line in a message, characters


def read_uvd(path: Path, protocol: TextProtocol, unlabelled: bool = False) -> np.ndarray:
    """Read a text file: (F, K, 3) float64 pixels, pixels and mm.

    Blanks are spaces or tabs. The reader accepts Windows line ends, a byte-order mark and empty lines at the end. It
    also accepts an image's name at the start of each line, as in ICVL's own label files.

    Args:
        path: the file.
        protocol: its joints and camera.
        unlabelled: whether lines of nothing but 0, or nothing but -1, are frames without labels: NaN in the result.

    Raises:
        DataError: the file is missing, empty, too large or not text; or a line has a wrong number of columns, a value
            that isn't a finite number, or a depth that isn't positive. The message names file and line.
    """
    lines = _without_names(text_lines(path))
    try:
        flat = np.array([[float(token) for token in line.split()] for line in lines])
        good = flat.ndim == 2 and flat.shape[1] == protocol.columns and not any("_" in line for line in lines)
    except ValueError:
        good = False
    if good:
        blank = (flat == 0).all(axis=1) | (flat == -1).all(axis=1) if unlabelled else np.zeros(len(flat), dtype=bool)
        # NaN compares false, so this test refuses NaN too.
        good = bool((np.abs(flat) <= _LARGEST_VALUE).all() and (flat[~blank, 2::3] > 0).all() and not blank.all())
        flat[blank] = np.nan
    if not good:
        raise _first_fault(path, lines, protocol)
    return flat.reshape(len(lines), len(protocol.joints), 3)


def _without_names(lines: list[str]) -> list[str]:
    """Remove the image names at the starts of lines. If one line has no name, return all lines unchanged."""
    pieces = [line.split(None, 1) for line in lines]
    named = all(len(piece) == 2 and piece[0].lower().endswith(_IMAGES) for piece in pieces)
    return [piece[1] for piece in pieces] if named else lines


def read_pair(predictions: Path, labels: np.ndarray, labels_path: Path, protocol: TextProtocol) -> np.ndarray:
    """Read predictions (F, K, 3) for labels (F, K, 3) of the file `labels_path`.

    Raises:
        DataError: as for `read_uvd`, or the two files have different numbers of lines.
    """
    uvd = read_uvd(predictions, protocol)
    if len(uvd) != len(labels):
        missing = len(uvd) < len(labels)
        line = len(uvd) + 1 if missing else len(labels) + 1
        what = "is missing" if missing else "has no label"
        raise DataError(
            f"{predictions}:{line}: line {line:,} {what}: {predictions} has {len(uvd):,} lines, "
            f"{labels_path} has {len(labels):,}. Both need a line for each frame, in the same order."
        )
    return uvd


def write_uvd(path: Path, uvd: np.ndarray, protocol: TextProtocol) -> None:
    """Write (F, K, 3) pixels, pixels and mm, to three decimals. `read_uvd` and the community's scripts read the file.

    Raises:
        DataError: the shape isn't the protocol's, a value isn't finite, or a depth isn't positive.
        RunError: the file can't be written.
    """
    uvd = np.asarray(uvd, dtype=np.float64)
    if uvd.ndim != 3 or uvd.shape[1:] != (len(protocol.joints), 3) or not len(uvd):
        raise DataError(f"Protocol {protocol.name} writes (frames, {len(protocol.joints)}, 3), not {uvd.shape}.")
    # Three decimals print any depth below 0.0005 as 0.
    bad = ~((np.abs(uvd) <= _LARGEST_VALUE).all(axis=-1) & (uvd[..., 2] >= 0.0005))
    if bad.any():
        frame, joint = (int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"Joint {protocol.joints[joint]} of frame {frame} (counted from 0) can't be written to {path}: "
            f"{protocol.columns_name} = {uvd[frame, joint].tolist()}; expected finite numbers and a positive depth."
        )
    text = "\n".join(" ".join(f"{value:.3f}" for value in row) for row in uvd.reshape(len(uvd), -1).tolist())
    write_atomic(Path(path), lambda temporary: _write_text(temporary, text + "\n"))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii", newline="\n")


def text_lines(path: Path) -> list[str]:
    """Return the lines of a text file without the empty ones at its end.

    Raises:
        DataError: the file is missing, empty, too large, or not text.
    """
    if reason := _other_format(path):
        raise DataError(f"{path}: {reason} Expected a text file with a line for each frame.")
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected a text file with a line for each frame.")
    if not path.exists():
        raise DataError(f"{path} doesn't exist.{_neighbours(path)}")
    if not path.is_file():
        raise DataError(f"{path} isn't an ordinary file; expected a text file with a line for each frame.")
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise DataError(
                f"{path} has {size / 2**20:,.0f} MiB; a file of labels or predictions has at most "
                f"{_LARGEST_FILE // 2**20} MiB."
            )
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: not a text file (byte {raw[error.start]:#04x}); expected UTF-8 text."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}:{line}: not a text file (it contains zero bytes); expected UTF-8 text.")
    # splitlines() also splits at form feeds, so its line numbers would differ from an editor's.
    lines = text.replace("\r\n", "\n").rstrip().split("\n")
    if lines == [""]:
        raise DataError(f"{path} is empty; expected a line for each frame.")
    return lines


_OTHER_FORMATS = {
    b"MATLAB 5.0": "this is a MATLAB file.",
    b"MATLAB 7.3": "this is a MATLAB file of version 7.3.",
    b"\x89HDF": "this is an HDF5 file.",
    b"PK\x03\x04": "this is a ZIP archive, as torch.save and numpy.savez write it.",
    b"\x93NUMPY": "this is a NumPy array.",
    b"\x89PNG": "this is an image.",
    b"\x80\x02": "this is a pickle, which HPF never reads.",
    b"\x80\x04": "this is a pickle, which HPF never reads.",
    b"\x80\x05": "this is a pickle, which HPF never reads.",
    b"%PDF": "this is a PDF document.",
}


def _other_format(path: Path) -> str:
    """Name the format of a binary file by its first bytes; empty for an unknown format."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            first = file.read(16)
    except OSError:
        return ""
    return next((what for start, what in _OTHER_FORMATS.items() if first.startswith(start)), "")


def _neighbours(path: Path) -> str:
    """List the contents of a missing file's folder."""
    if not path.parent.is_dir():
        return f" Nor does its folder {path.parent}."
    texts = sorted(p.name for p in path.parent.glob("*.txt"))
    return f" Its folder holds {', '.join(texts[:8])}{', ...' if len(texts) > 8 else ''}." if texts else ""


def _first_fault(path: Path, lines: list[str], protocol: TextProtocol) -> DataError:
    """Return the error of the first wrong line."""
    for number, line in enumerate(lines, start=1):
        tokens = line.split()
        if divided := _other_separator(line, protocol):
            return DataError(f"{path}:{number}: {divided}. The line begins: {_quote(line)}")
        if len(tokens) != protocol.columns:
            what = (
                f"{len(tokens)} columns, expected {protocol.columns} ({protocol.columns_name} of "
                f"{len(protocol.joints)} joints, protocol {protocol.name}){_other_protocol(len(tokens))}"
            )
            return DataError(f"{path}:{number}: {what}. The line begins: {_quote(line)}")
        for column, token in enumerate(tokens):
            fault = _token_fault(token, is_depth=column % 3 == 2)
            if fault:
                where = (
                    f"column {column + 1} ({protocol.columns_name[column % 3 * 2]} of {protocol.joints[column // 3]})"
                )
                return DataError(f"{path}:{number}: {where}: {_quote(token)} {fault}.")
    raise AssertionError("the fast path refused a file in which the slow path finds no fault")


def _token_fault(token: str, is_depth: bool) -> str:
    try:
        value = float(token) if "_" not in token else None
    except ValueError:
        value = None
    if value is None:
        return "isn't a number"
    if not math.isfinite(value):
        return "isn't a finite number"
    if abs(value) > _LARGEST_VALUE:
        return f"is beyond any camera; expected at most {_LARGEST_VALUE:,.0f}"
    return "isn't a depth; expected mm above 0" if is_depth and value <= 0 else ""


def _other_protocol(columns: int) -> str:
    """Return a hint if the number of columns matches another protocol."""
    if columns == 3 * _NYU_JOINTS:
        return (
            f"; {columns} are NYU's whole annotation of {_NYU_JOINTS} joints: keep the 14 that are evaluated, joints "
            "0 3 6 9 12 15 18 21 24 25 27 30 31 32 counted from 0"
        )
    fitting = [name for name, protocol in PROTOCOLS.items() if protocol.columns == columns]
    return f"; {columns} are those of protocol {' or '.join(fitting)}" if fitting else ""


def _other_separator(line: str, protocol: TextProtocol) -> str:
    """Name the separator of a line's columns; empty for blanks."""
    for mark, name in ((",", "commas"), (";", "semicolons")):
        if line.count(mark) >= 2:
            columns = len([token for token in line.replace(mark, " ").split() if token])
            more = "" if columns == protocol.columns else f", and there are {columns} of them, not {protocol.columns}"
            return f"columns are divided by {name}; expected blanks (tr '{mark}' ' ' replaces them){more}"
    return ""


def _quote(text: str) -> str:
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return repr(cut)
