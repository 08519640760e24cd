"""What a served model is, and what is asked of it before a client may: that it answers, and that it looks."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vlajs.vla.convention import Convention

DEFAULT_ACTION_SIZE = 7
WARM_UP_INSTRUCTION = "pick up the cube"
WARM_UP_SIDE = 256
"""Side in pixels of the images shown in the warm-up to a model that states no image size."""


class ModelError(RuntimeError):
    """A model has no answer or must not be served; the message is written for users and sent to clients."""


class Model(Protocol):
    """A vision-language-action model; one file each, nothing of the network in it.

    Attributes:
        name: recorded with results.
        convention: what its actions mean (frame, rate, image size, unnorm key); None if that is not known, and every
            client has to say it.
        action_horizon: K, actions in an answer.
    """

    @property
    def name(self) -> str: ...

    @property
    def convention(self) -> Convention | None: ...

    @property
    def action_horizon(self) -> int: ...

    def act(self, images: NDArray[np.uint8], instructions: Sequence[str]) -> NDArray[np.floating]:
        """Actions (B, K, A) for images (B, H, W, 3) RGB and B instructions; called from one thread at a time.

        Raises:
            ModelError: there is no answer, for a reason a client should read. Anything else is a failure too, of which
                clients learn only that it happened.
        """
        ...


def checked_act(model: Model, images: NDArray[np.uint8], instructions: Sequence[str]) -> NDArray[np.floating]:
    """:meth:`Model.act`, with its answer checked.

    Raises:
        ModelError: another shape or dtype than promised, NaN or infinity: such an answer never leaves the server.
    """
    actions = model.act(images, instructions)
    size = DEFAULT_ACTION_SIZE if model.convention is None else model.convention.action_size
    expected = (len(images), model.action_horizon, size)
    if not isinstance(actions, np.ndarray) or actions.dtype.kind != "f" or actions.shape != expected:
        what = f"{actions.dtype} {actions.shape}" if isinstance(actions, np.ndarray) else type(actions).__name__
        raise ModelError(f"{model.name} answered {what}, expected floats of shape {expected}: its code is at fault")
    if not np.isfinite(actions).all():
        raise ModelError(f"{model.name} answered NaN or infinity: weights, or their number format, are at fault")
    return actions


def warm_up(model: Model) -> None:
    """Ask about four images as different as can be: the first call is slow, and a blind model gives itself away.

    Raises:
        ModelError: no good answer, or the same one for all four images.
    """
    images = probe_images(model)
    actions = np.concatenate([checked_act(model, image[None], [WARM_UP_INSTRUCTION]) for image in images])
    if (actions == actions[0]).all():
        raise ModelError(
            f"{model.name} gives the same action for {len(images)} entirely different images: it does not see. "
            "Likely causes: library versions it was not written for (OpenVLA needs transformers 4.40.1), or weights "
            "that did not load; it is not served"
        )


def probe_images(model: Model) -> NDArray[np.uint8]:
    """Black, noise, a gradient and a bright square on grey: (4, H, W, 3) of the model's image size."""
    stated = None if model.convention is None else model.convention.image_size
    height, width = stated or (WARM_UP_SIDE, WARM_UP_SIDE)
    images = np.zeros((4, height, width, 3), dtype=np.uint8)
    images[1] = np.random.default_rng(0).integers(0, 256, images.shape[1:], dtype=np.uint8)
    images[2] = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
    images[3] = 90
    images[3, height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] = (250, 220, 40)
    return images
