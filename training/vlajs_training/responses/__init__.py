"""Identified responses of bridge and arm, for simulations to answer alike."""

from pathlib import Path

TWIN_RESPONSE = Path(__file__).parent / "twin.yaml"
"""Response of bridge and twin, written by ``vlajs identify``."""
