"""Conventions of public weights whose servers state none."""

from vlajs.vla.convention import Convention
from vlajs.vla.errors import ConventionError

OPENVLA_MANISKILL = Convention(
    rate_hz=20.0,
    rotation="euler_xyz_intrinsic",
    translation_scale_m=0.1,
    rotation_scale_rad=-0.1,
    gripper_open=1.0,
    gripper_closed=0.0,
    image_size=(256, 256),
    unnorm_key="maniskill_human:7.0.0",
)
"""``Juelg/openvla-7b-finetuned-maniskill`` (Refined Policy Distillation, arXiv:2503.05833).

Its actions are the inputs of ManiSkill's ``pd_ee_delta_pose``, as recorded: RPD's README (Refined-Policy-Distillation)
names the demonstrations ``rl/trajectory.none.pd_ee_delta_pose.cuda.h5``, replayed in that control mode.
Hence (``mani_skill/agents/controllers/pd_ee_pose.py`` 3.0.1) 1 is 0.1 m, and the rotation is read as intrinsic Euler
angles "XYZ", composed on the left in the root's axes, after multiplication by ``rot_lower = -0.1``: the flipped sign of
upstream issue mani-skill/ManiSkill#1469 is part of what the model learnt. Control is at 20 Hz. The gripper comes in
[0, 1], 1 open: vlagents (evaluator_envs.py) maps it by ``2 a - 1`` before it reaches ManiSkill. Images are 256 x 256 of
the human render camera; the unnorm key stands in vlagents' README.

ManiSkill moves its arm relative to the measured pose and reaches only 30-40 % of such a step: as a *direction* the
answer is right, its length is what was commanded, not what was reached. One doubt is left: those demonstrations were
recorded on the GPU by an earlier ManiSkill than 3.0.1; if it did not flip the sign yet, rotations point the other way
(translations and gripper do not depend on it). Try ``replace(..., rotation_scale_rad=0.1)`` on a task that turns the
tool before relying on its rotations.
"""

OPENVLA_BRIDGE = Convention(
    rate_hz=5.0,
    rotation="euler_xyz_extrinsic",
    gripper_open=1.0,
    gripper_closed=0.0,
    unnorm_key="bridge_orig",
)
"""``openvla/openvla-7b`` with BridgeData V2's statistics (a WidowX at 5 Hz).

openvla/openvla#3 (an author): changes of position and orientation of the end effector, gripper 1 open, 0 closed.
openvla/openvla#115: translation and rotation are both applied in the global frame, ``R(droll, dpitch, dyaw) R_tool``.
That the three angles are roll, pitch, yaw about fixed axes is how SimplerEnv replays them (``euler2axangle``, whose
default is static xyz). openvla/openvla#114: actions were relabelled with the distance actually reached, so 1 is 1 m and
1 rad. Any image size: the model's own preprocessing resizes to 224. Bridge measures orientation from a top-down tool,
which a rotation composed on the left does not depend on.
"""

PRESETS = {"openvla-maniskill": OPENVLA_MANISKILL, "openvla-bridge": OPENVLA_BRIDGE}


def preset(name: str) -> Convention:
    """The convention of that name.

    Raises:
        ConventionError: there is none.
    """
    if name not in PRESETS:
        raise ConventionError(f"unknown convention {name!r}: known are {', '.join(PRESETS)}")
    return PRESETS[name]
