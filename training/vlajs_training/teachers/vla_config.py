"""Which vision-language-action model guides, as the command line says it; neither simulates nor renders."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vlajs.vla.backend import VlaConfig
from vlajs.vla.presets import preset
from vlajs_training.camera_view import CameraView, maniskill_camera

NETWORK_TEACHERS = ("openvla-rest", "openpi", "vlajs")
"""Teachers behind a server, named as the protocol they are reached by."""
IMAGE_PX = 256
"""Side of the pictures for a server that states no size."""


@dataclass(frozen=True, kw_only=True)
class VlaTeacherConfig:
    """Which vision-language-action model guides, and what it sees; not for --teacher scripted."""

    weights: Path | None = None
    """Of mini-vla: the file of `vlajs teacher train`."""
    url: str | None = None
    """Of the others: where the server is; by default this machine's port 8000."""
    token_file: Path | None = None
    """File whose first line is the server's token."""
    ca_file: Path | None = None
    """Certificates (PEM) to believe besides the system's."""
    convention: str | None = None
    """What the server's actions mean where it does not say so: openvla-maniskill, openvla-bridge."""
    camera: Literal["front", "maniskill"] | None = None
    """Where its pictures are taken from: front is the twin's camera, maniskill that of ManiSkill's demonstrations. By
    default mini-vla's own, front for a server of vlajs, maniskill for the others."""

    def check(self, teacher: str) -> None:
        """Refuse what does not belong to this teacher.

        Raises:
            ValueError: naming the parameter and the remedy.
        """
        given = {name for name, value in vars(self).items() if value is not None}
        if teacher == "scripted" and given:
            raise ValueError(f"--vla.{min(given)} is for a teacher that sees, --teacher is scripted: leave one away")
        if teacher == "mini-vla":
            if self.weights is None:
                raise ValueError("--teacher mini-vla needs --vla.weights FILE, of `vlajs teacher train`")
            if foreign := sorted(given - {"weights"}):
                raise ValueError(f"--vla.{foreign[0]} is not for mini-vla, whose file says everything: leave it away")
        elif "weights" in given:
            raise ValueError(f"--vla.weights is mini-vla's, --teacher is {teacher}: a server has its weights itself")
        elif self.convention is not None:
            preset(self.convention)

    def client(self, backend: str) -> VlaConfig:
        """How the server is reached.

        Raises:
            ValueError: the token cannot be read, or an address that is refused.
        """
        token = None
        if self.token_file is not None:
            try:
                token = self.token_file.read_text(encoding="ascii").partition("\n")[0].strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"--vla.token-file {self.token_file} cannot be read as ASCII ({error})") from error
        scheme = "ws" if backend == "openpi" else "http"
        return VlaConfig(
            backend=backend,
            url=self.url or f"{scheme}://127.0.0.1:8000",
            token=token,
            ca_file=None if self.ca_file is None else str(self.ca_file),
            convention=None if self.convention is None else preset(self.convention),
        )

    def camera_for(self, backend: str, task: str, image_size: tuple[int, int] | None) -> CameraView:
        """Where a server's pictures are taken from; ``image_size``: height and width it wants."""
        front = (self.camera or ("front" if backend == "vlajs" else "maniskill")) == "front"
        height_px, width_px = image_size or (IMAGE_PX, IMAGE_PX)
        return replace(CameraView() if front else maniskill_camera(task), height_px=height_px, width_px=width_px)

    def settings(self) -> dict[str, Any]:
        """What a resumed run must have in common with the one it continues: the weights, wherever they lie."""
        if self.weights is not None:
            return {"teacher_weights_sha256": hashlib.sha256(self.weights.read_bytes()).hexdigest()}
        return {"teacher_convention": self.convention, "teacher_camera": self.camera}
