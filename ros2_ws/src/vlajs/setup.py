"""What ament_python needs beyond pyproject.toml: the resource marker, package.xml and the launch files in share."""

from pathlib import Path

from setuptools import setup

LAUNCH_FILES = sorted(str(path) for path in Path("launch").glob("*.launch.py"))

setup(
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/vlajs"]),
        ("share/vlajs", ["package.xml"]),
        ("share/vlajs/launch", LAUNCH_FILES),
    ],
)
