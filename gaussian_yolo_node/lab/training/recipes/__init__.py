"""Shipped recipes by name."""

from __future__ import annotations

from pathlib import Path

from gaussian_yolo_node.lab.training.config import ConfigError

FOLDER = Path(__file__).parent


def find_recipe(name_or_path: str) -> Path:
    """The path if the file exists, else the shipped recipe of that name.

    Raises:
        ConfigError: neither exists; the message lists the names.
    """
    path = Path(name_or_path)
    named = FOLDER / f"{name_or_path}.yaml"
    if path.is_file() or not named.is_file():
        if not path.is_file():
            names = ", ".join(sorted(recipe.stem for recipe in FOLDER.glob("*.yaml")))
            raise ConfigError(f"training config {name_or_path} does not exist; by name there are {names}")
        return path
    return named
