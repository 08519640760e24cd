"""What runs together: the launches that there are.

``launch/*.launch.py`` turns a description into ``launch_ros`` actions (``vlajs.launching``); ``vlajs up`` and
:func:`vlajs.processes.running` start the very same nodes where ``launch`` is not installed.
"""

import random
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vlajs.launch_description import AnyOf, Argument, Description, Is, NodeSpec, Use, Value

LIBFRANKA_PORT = 1337

_ADDRESS_ATTEMPTS = 50


def free_twin_address() -> str:
    """A loopback address on which no robot server listens, so that several twins fit on one machine.

    Raises:
        OSError: none of those tried was free.
    """
    for _ in range(_ADDRESS_ATTEMPTS):
        address = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"
        with socket.socket() as probe:
            try:
                probe.bind((address, LIBFRANKA_PORT))
            except OSError:
                continue
            return address
    raise OSError(f"none of {_ADDRESS_ATTEMPTS} loopback addresses has port {LIBFRANKA_PORT} free: stop some twins")


def description_named(name: str) -> Description:
    """The launch of that name.

    Raises:
        ValueError: unknown; the message lists the known ones.
    """
    if name not in DESCRIPTIONS:
        raise ValueError(f"unknown launch {name!r}: known are {', '.join(DESCRIPTIONS)}")
    return DESCRIPTIONS[name]


_COMMON_ARGUMENTS = (
    Argument(
        name="params_file",
        kind=Path,
        default="",
        description="ROS parameter file with a site's own values for any node: workspace, speeds, thresholds",
    ),
    Argument(
        name="checkpoint",
        kind=Path,
        default="",
        description="policy bundle (.safetensors) that the policy node loads; needed unless policy:=false",
        nodes_own=True,
    ),
    Argument(name="policy", kind=bool, default="true", description="whether to start the policy node"),
    Argument(
        name="state_age_limit_s",
        kind=float,
        default="0.1",
        description="oldest robot state to act on, s",
        nodes_own=True,
    ),
    Argument(
        name="objects_age_limit_s",
        kind=float,
        default="0.2",
        description="oldest object pose to act on, s",
        nodes_own=True,
    ),
    Argument(
        name="stride",
        kind=float,
        default="1.0",
        description="share of each of the policy's increments that is sent: 0.2 for first runs; trials last longer",
        nodes_own=True,
    ),
)


def _policy_node(use_sim_time: bool) -> NodeSpec:
    return NodeSpec(
        module="policy_node",
        name="policy",
        parameters={
            "use_sim_time": use_sim_time,
            "checkpoint": Use("checkpoint"),
            "state_age_limit_s": Use("state_age_limit_s"),
            "objects_age_limit_s": Use("objects_age_limit_s"),
            "stride": Use("stride"),
        },
        condition=Is("policy", True),
    )


TWIN_TABLE_TAGS = Path(__file__).with_name("twin") / "table_tags.yaml"
_TABLE_TAGS = Argument(
    name="table_tags",
    kind=Path,
    default="",
    description="tags on the table (vlajs calibrate tags) by which poses follow a camera that was moved; none if empty",
)

_CAMERA_ARGUMENTS = (
    Argument(
        name="detector",
        kind=Path,
        default="",
        description="trained detector of the pose estimator; the one that comes with it if empty",
        nodes_own=True,
    ),
    Argument(
        name="task",
        kind=str,
        default="",
        description="task whose objects the pose estimator looks for; that of the checkpoint if empty",
        nodes_own=True,
    ),
    Argument(
        name="annotated",
        kind=bool,
        default="false",
        description="whether the pose estimator publishes /perception/annotated",
        nodes_own=True,
    ),
)

TWIN_CAMERA_POSE = (1.245, 0.0, 0.685, 0.28211278, -0.64839215, -0.64839215, 0.28211278)
"""Pose of the optical frame of the twin's front camera in panda_link0: x, y, z in m, quaternion w, x, y, z."""


def _pose_estimator_node(use_sim_time: bool, condition: Is, parameters: Mapping[str, Value | Use]) -> NodeSpec:
    return NodeSpec(
        module="pose_estimator_node",
        name="pose_estimator",
        parameters={
            "use_sim_time": use_sim_time,
            "detector": Use("detector"),
            "task": Use("task"),
            "checkpoint": Use("checkpoint"),
            "annotated": Use("annotated"),
            **parameters,
        },
        condition=condition,
    )


REAL_ROBOT = Description(
    name="real_robot",
    summary="bridge and policy on a Franka arm; object poses from a camera, or from whatever publishes them",
    arguments=(
        Argument(name="robot_ip", kind=str, default=None, description="address of the arm's control interface (FCI)"),
        *_COMMON_ARGUMENTS,
        Argument(name="camera", kind=bool, default="false", description="whether to start the pose estimator"),
        Argument(
            name="calibration",
            kind=Path,
            default="",
            description="calibration of the camera (vlajs calibrate solve); needed with camera:=true",
            nodes_own=True,
        ),
        replace(_TABLE_TAGS, nodes_own=True),
        *_CAMERA_ARGUMENTS,
    ),
    nodes=(
        NodeSpec(
            module="bridge_node", name="franka_bridge", parameters={"use_sim_time": False, "robot_ip": Use("robot_ip")}
        ),
        _pose_estimator_node(
            False, Is("camera", True), {"calibration": Use("calibration"), "table_tags": Use("table_tags")}
        ),
        _policy_node(use_sim_time=False),
    ),
)

TWIN = Description(
    name="twin",
    summary="the simulated arm and its objects, with bridge and policy, all on robot time",
    arguments=(
        Argument(
            name="robot_ip",
            kind=str,
            default=free_twin_address,
            description="loopback address the twin listens on; a free one if not given",
        ),
        Argument(
            name="speed",
            kind=float,
            default="1.0",
            description="pace of the twin's clock, which every node follows; 0.5 leaves a small machine time to see",
            nodes_own=True,
        ),
        Argument(
            name="pose_source",
            kind=str,
            default="truth",
            description="who publishes /objects/<name>/pose: the twin the truth, or a pose estimator behind its camera",
            choices=("truth", "camera"),
        ),
        Argument(
            name="publish_objects",
            kind=bool,
            default="true",
            description="false for a pose estimator of your own; never with pose_source:=camera",
            nodes_own=True,
        ),
        Argument(
            name="cube_half_size_m",
            kind=float,
            default="0.02",
            description="half an edge of the twin's cube, m; 0.025 for push_cube_v2",
            nodes_own=True,
        ),
        Argument(
            name="camera",
            kind=bool,
            default="false",
            description="whether a camera looks at the twin and publishes /camera/image_raw and /camera/camera_info",
        ),
        Argument(
            name="camera_board",
            kind=bool,
            default="false",
            description="whether that camera sees a calibration board on the hand, for vlajs calibrate capture",
            nodes_own=True,
        ),
        *_COMMON_ARGUMENTS,
        replace(_TABLE_TAGS, default=str(TWIN_TABLE_TAGS)),
        *_CAMERA_ARGUMENTS,
    ),
    nodes=(
        NodeSpec(
            module="twin_node",
            name="twin",
            parameters={
                "address": Use("robot_ip"),
                "speed": Use("speed"),
                "publish_objects": Use("publish_objects"),
                "cube_half_size_m": Use("cube_half_size_m"),
            },
            # two publishers of one pose would contradict each other
            forced=(Is("pose_source", "camera"), {"publish_objects": False}),
        ),
        NodeSpec(
            module="twin_camera_node",
            name="twin_camera",
            parameters={
                "cube_half_size_m": Use("cube_half_size_m"),
                "board": Use("camera_board"),
                "table_tags": Use("table_tags"),
            },
            condition=AnyOf((Is("camera", True), Is("pose_source", "camera"))),
        ),
        NodeSpec(
            module="bridge_node",
            name="franka_bridge",
            # both start at once, and the twin takes a while to build its world
            parameters={"use_sim_time": True, "robot_ip": Use("robot_ip"), "connect_timeout_s": 60.0},
        ),
        _pose_estimator_node(
            True,
            Is("pose_source", "camera"),
            # what MuJoCo renders has no noise: of a scene at rest all pictures are the same; and where no graphics card
            # renders, pictures come late now and then from a camera that is well
            {
                "camera_pose": TWIN_CAMERA_POSE,
                "table_tags": Use("table_tags"),
                "refuse_repeats": False,
                "image_age_limit_s": 0.5,
            },
        ),
        _policy_node(use_sim_time=True),
    ),
)

_BASELINE_ARGUMENTS = (
    Argument(
        name="backend",
        kind=str,
        default=None,
        description="what the VLA server speaks",
        choices=("openvla-rest", "openpi", "vlajs"),
    ),
    Argument(
        name="url",
        kind=str,
        default="http://127.0.0.1:8000",
        description="address of the VLA server; ws:// with openpi",
        nodes_own=True,
    ),
    Argument(
        name="convention",
        kind=str,
        default="",
        description="what its actions mean (openvla-maniskill, openvla-bridge); needed where it does not say so itself",
        nodes_own=True,
    ),
    Argument(
        name="token_file",
        kind=Path,
        default="",
        description="file whose first line is the server's token; needed for a server on another machine",
        nodes_own=True,
    ),
    Argument(
        name="instruction",
        kind=str,
        default="",
        description="what the VLA is told; that of task:= if empty",
        nodes_own=True,
    ),
    Argument(
        name="horizon_s",
        kind=float,
        default="60.0",
        description="time from the VLA's first action to the end of its episode, s",
        nodes_own=True,
    ),
    Argument(
        name="image_age_limit_s",
        kind=float,
        default="1.0",
        description="an answer to an older picture is dropped, s",
        nodes_own=True,
    ),
    Argument(
        name="overlap",
        kind=bool,
        default="false",
        description="whether the VLA is asked while its last action is still being carried out",
        nodes_own=True,
    ),
)

_OTHERWISE_BESIDE_A_BASELINE = {
    "policy": {
        "default": "false",
        "description": "whether to start the policy node, too: inactive, for a session that compares the two",
    },
    # a VLA has not been trained on pictures with tags in them
    "table_tags": {"default": ""},
    "task": {"description": "task whose instruction the VLA is told, and whose objects a pose estimator looks for"},
}


def _with_baseline(launch: Description, *, name: str, summary: str, use_sim_time: bool) -> Description:
    """A launch with the baseline node as its commander; a policy, if any, waits inactive."""
    baseline = NodeSpec(
        module="vla_baseline_node",
        name="vla_baseline",
        parameters={
            "use_sim_time": use_sim_time,
            **{argument.name: Use(argument.name) for argument in _BASELINE_ARGUMENTS},
            "task": Use("task"),
            "state_age_limit_s": Use("state_age_limit_s"),
        },
    )
    arguments = [replace(each, **_OTHERWISE_BESIDE_A_BASELINE.get(each.name, {})) for each in launch.arguments]
    nodes = [
        replace(node, parameters={**node.parameters, "start_active": False}) if node.name == "policy" else node
        for node in launch.nodes
    ]
    return replace(
        launch,
        name=name,
        summary=summary,
        arguments=(*arguments, *_BASELINE_ARGUMENTS),
        nodes=(*nodes, baseline),
    )


OPENVLA_BASELINE = _with_baseline(
    REAL_ROBOT,
    name="openvla_baseline",
    summary="bridge and a VLA alone on a Franka arm, which sees /camera/image_raw of your camera's driver",
    use_sim_time=False,
)

OPENVLA_BASELINE_TWIN = _with_baseline(
    replace(
        TWIN,
        arguments=tuple(argument for argument in TWIN.arguments if argument.name != "camera"),
        nodes=tuple(replace(node, condition=None) if node.name == "twin_camera" else node for node in TWIN.nodes),
    ),
    name="openvla_baseline_twin",
    summary="the simulated arm with its camera, bridge and a VLA alone, all on robot time",
    use_sim_time=True,
)

DESCRIPTIONS: dict[str, Description] = {
    description.name: description for description in (REAL_ROBOT, TWIN, OPENVLA_BASELINE, OPENVLA_BASELINE_TWIN)
}
