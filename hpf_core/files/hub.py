"""Weights on a model hub: `hf://owner/name@COMMIT`, fetched once by the optional package huggingface_hub.

A branch or a tag can name other weights tomorrow, so a place must name a commit. HPF compares the downloaded weights
with the hub's SHA-256. It keeps the files with their hashes in its cache, and reads them from there without network.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpf_core.errors import DataError, InputError
from hpf_core.files.cache import cache_folder

PREFIX = "hf://"
FILES = ("weights.safetensors", "config.json", "README.md")
"""The files of a folder of weights."""

_HASHES = "sha256.json"
_FORM = re.compile(r"hf://([\w.-]+)/([\w.-]+)(?:@([^@\s]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_EXTRA = "pip install 'hand-pose-fitting[hub]'"


@dataclass(frozen=True)
class HubPlace:
    """A place on the hub.

    Attributes:
        repository: as OWNER/NAME.
        revision: a commit, branch or tag; empty for the default branch.
    """

    repository: str
    revision: str

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return _COMMIT.fullmatch(self.revision) is not None

    @property
    def folder(self) -> Path:
        """The folder of its files in the cache."""
        return cache_folder() / "hub" / f"{self.repository.replace('/', '--')}@{self.revision}"

    def at(self, revision: str) -> str:
        """The place of another revision, as users write it."""
        return f"{PREFIX}{self.repository}@{revision}"


def is_hub(place: object) -> bool:
    """Whether a text names a place on the hub."""
    return isinstance(place, str) and place.startswith(PREFIX)


def parse_hub(text: str) -> HubPlace:
    """A place from its text.

    Raises:
        InputError: the text is no such place.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError(f"'{text}' isn't a place on a model hub: {PREFIX}OWNER/NAME@COMMIT was expected.")
    return HubPlace(f"{found[1]}/{found[2]}", found[3] or "")


def fetch_weights(text: str) -> Path:
    """The folder of weights of a place on the hub, from the cache or from the hub.

    Raises:
        InputError: the place isn't pinned to a commit, can't be fetched, or the package is missing.
        DataError: the files differ from those that the hub has, or had.
    """
    place = parse_hub(text)
    if not place.is_pinned:
        raise InputError(_unpinned(text, place))
    folder = place.folder
    if not (folder / _HASHES).is_file():
        _download(text, place, folder)
    _verify(folder)
    return folder


def _unpinned(text: str, place: HubPlace) -> str:
    """A message that names the commit of a branch or tag, if the hub can be asked."""
    what = f"names '{place.revision}', a branch or tag" if place.revision else "names no commit"
    message = f"{text} {what}, so its weights can change. "
    try:
        commit = str(_hub().HfApi().model_info(place.repository, revision=place.revision or None).sha)
    except Exception:  # offline, no such repository, no package: the message is right without the commit
        commit = ""
    if _COMMIT.fullmatch(commit):
        return f"{message}At the moment it is {place.at(commit)}: give that."
    return f"{message}Give {place.at('COMMIT')} with the 40 digits of a commit, as the hub's page lists them."


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(
            f"Weights on a model hub need the package huggingface_hub, which isn't installed: {_EXTRA}. Or download "
            f"{', '.join(FILES)} into a folder, and give the folder."
        ) from error


def _download(text: str, place: HubPlace, folder: Path) -> None:
    hub = _hub()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".hub-", dir=folder.parent) as temporary:
        made = Path(temporary) / "weights"
        made.mkdir()
        hashes = {}
        try:
            for name in FILES:
                found = hub.hf_hub_download(
                    place.repository, name, revision=place.revision, local_dir=Path(temporary) / "download"
                )
                shutil.copyfile(found, made / name)
                hashes[name] = _sha256(made / name)
            infos = hub.HfApi().get_paths_info(place.repository, [FILES[0]], revision=place.revision)
        except Exception as error:  # the package raises errors of several libraries
            reason = str(error).strip().splitlines()
            raise InputError(
                f"{text} can't be fetched: {reason[0] if reason else type(error).__name__}. A folder of weights has "
                f"{', '.join(FILES)}."
            ) from error
        expected = next((info.lfs.sha256 for info in infos if getattr(info, "lfs", None) is not None), None)
        if expected is not None and expected != hashes[FILES[0]]:
            raise DataError(
                f"{text}: the downloaded {FILES[0]} has the SHA-256 {hashes[FILES[0]]}, but the hub's is {expected}."
            )
        (made / _HASHES).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
        try:
            os.replace(made, folder)
        except OSError:
            if not (folder / _HASHES).is_file():  # another process may have been faster
                raise


def _verify(folder: Path) -> None:
    """Compare the files of a folder with the hashes at their download."""
    try:
        hashes = json.loads((folder / _HASHES).read_text(encoding="utf-8"))
        wrong = [name for name in FILES if _sha256(folder / name) != hashes[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is damaged ({error}). Delete this folder to fetch it again.") from error
    if wrong:
        raise DataError(f"{folder / wrong[0]} was changed after its download. Delete this folder to fetch it again.")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
