"""The packages of a run's plugins: what a run's folder records, and whether a run can be resumed with others."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import hpf_core
from hpf_core.documents.tree import constant
from hpf_core.documents.yaml import decode, parse
from hpf_core.errors import RecipeError
from hpf_core.recipe import Resolved
from hpf_core.recipe.plugins import ALLOW, other_plugins


def check_resumed(saved: Path, resolved: Resolved) -> None:
    """Check that the run of a saved recipe can be resumed with the packages that `resolved` uses.

    Raises:
        RecipeError: plugins have other versions. For an unreadable recipe, the resume itself raises the error.
    """
    try:
        versions = parse(decode(saved.read_bytes(), str(saved)), constant(None, str(saved)).at.source).get("versions")
    except (OSError, RecipeError):
        return
    if versions is not None and versions.is_mapping:
        differences = other_plugins({k: str(v) for k, v in versions.plain().items()}, resolved.recipe.versions)
        if differences:
            raise RecipeError(
                f"{saved.parent} can't be resumed with other plugins: {'; '.join(differences)}. Install its "
                f"versions, or add {ALLOW} to mix versions in one run."
            )


def used_plugins(resolved: Resolved) -> dict[str, dict[str, Any]]:
    """The origin of a run's code: for each plugin, "kind:name", its package, version and source. For an editable folder
    or a repository with a commit, also the way of installation."""
    return {
        f"{part.spec.kind}:{part.spec.name}": {
            "package": part.package,
            "version": part.version,
            "source": part.spec.source,
            "installed": _how_installed(part.package),
        }
        for part in [*resolved.all(), *(term for stage in resolved.stages for term in stage.terms)]
    }


def _how_installed(package: str) -> str:
    """The origin according to the installer (PEP 610); empty for a package index."""
    try:
        name = hpf_core.DISTRIBUTION if package == "hpf" else package
        text = importlib.metadata.distribution(name).read_text("direct_url.json")
        about = json.loads(text) if text else {}
        url, commit = about.get("url", ""), about.get("vcs_info", {}).get("commit_id", "")
        editable = about.get("dir_info", {}).get("editable", False)
    except (importlib.metadata.PackageNotFoundError, AttributeError, OSError, ValueError, RecursionError):
        return ""
    return f"editable {url}" if editable else f"{url}@{commit}" if commit else str(url)
