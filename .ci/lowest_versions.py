"""Print the lowest version that pyproject.toml admits of each dependency, as constraints for pip; not PyTorch's."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    name, lowest = re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:,.*)?", requirement).groups()
    if name != "torch":
        print(f"{name}=={lowest}")
