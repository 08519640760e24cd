"""What the pose estimator says: poses with covariance, and how it goes."""

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseWithCovarianceStamped

from vlajs.geometry import Pose
from vlajs.nodes.messages import pose_message
from vlajs.policy.contract import BASE_FRAME
from vlajs.policy.deadline import NS_PER_S
from vlajs_msgs.msg import RobotStatus
from vlajs_perception.camera_watch import Fix
from vlajs_perception.estimate import Estimate
from vlajs_perception.estimator import Report
from vlajs_perception.pipeline import Health
from vlajs_perception.tool_history import Gripper
from vlajs_perception.tracker import Status

CLOSED_M = 0.01
"""A hand that was told to open no further than this is closing."""
CAMERA_MOVED_M = 0.005
CAMERA_TURNED_DEG = 0.5
"""Further from where it was calibrated than this, a camera was moved: tags and calibration are not so far off."""


def gripper_from(message: RobotStatus) -> Gripper:
    """What the hand does, as the bridge says it."""
    closing = message.gripper_busy and message.gripper_command_m < CLOSED_M
    closed = not message.grasped and 0.0 <= message.gripper_width_m < CLOSED_M
    return Gripper(
        closing=bool(closing),
        grasped=bool(message.grasped),
        closed=bool(closed),
        width_m=message.gripper_width_m if message.gripper_width_m >= 0.0 else None,
    )


def estimate_message(pose: Estimate, stamp_ns: int) -> PoseWithCovarianceStamped:
    """A pose in ``panda_link0``, stamped with the time that it is for."""
    message = PoseWithCovarianceStamped()
    message.header.stamp = Time(sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)
    message.header.frame_id = BASE_FRAME
    message.pose.pose = pose_message(Pose(position_m=pose.position_m, quat_wxyz=pose.quat_wxyz))
    # ROS has position, then rotation about the axes of the header's frame: as here
    message.pose.covariance = pose.covariance.ravel().tolist()
    return message


def health_status(health: Health, reports: list[Report], now_ns: int) -> DiagnosticStatus:
    """The camera's, the detector's and each object's health."""
    values = {
        "images": str(health.images),
        "rate_hz": f"{health.rate_hz:.1f}",
        "latency_ms": f"{1e3 * health.latency_s:.1f}",
    }
    if health.camera is not None:
        values |= _camera_values(health.camera)
    for report in reports:
        seen_s = None if report.last_seen_ns is None else (now_ns - report.last_seen_ns) / NS_PER_S
        values[f"{report.name}: status"] = report.status.value + (", held" if report.held else "")
        values[f"{report.name}: last seen, s ago"] = "never" if seen_s is None else f"{seen_s:.2f}"
        values[f"{report.name}: lost since, s"] = (
            "not lost" if report.status is not Status.LOST or seen_s is None else f"{seen_s:.2f}"
        )
        if report.reason:
            values[f"{report.name}: reason"] = report.reason
    values |= {f"refused: {kind}": str(count) for kind, count in sorted(health.refusals.items())}
    missing = [report for report in reports if report.pose is None]
    if health.refusal:
        level, text = DiagnosticStatus.ERROR, health.refusal
    elif missing:
        level = DiagnosticStatus.WARN
        text = "; ".join(f"{report.name} {report.status.value}: {report.reason}" for report in missing)
    else:
        level, text = DiagnosticStatus.OK, "tracking"
    status = DiagnosticStatus(level=level, name="pose_estimator", message=text)
    status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return status


def moved_text(fix: Fix) -> str:
    """How far the table's tags have the camera from where it was calibrated; empty where that is next to nothing."""
    if fix.moved_m <= CAMERA_MOVED_M and fix.turned_deg <= CAMERA_TURNED_DEG:
        return ""
    return (
        f"the camera is {1e3 * fix.moved_m:.0f} mm and {fix.turned_deg:.1f} degrees from where it was calibrated: made "
        "up for by the table's tags; put it back, or calibrate it where it is"
    )


def _camera_values(fix: Fix) -> dict[str, str]:
    return {
        "camera": moved_text(fix) or "where it was calibrated",
        "camera: moved since its calibration, mm": f"{1e3 * fix.moved_m:.1f}",
        "camera: turned since its calibration, degrees": f"{fix.turned_deg:.2f}",
        "camera: by tags": _ids(fix.tags),
        "camera: tags that are not where they should be": _ids(fix.strayed) or "none",
    }


def _ids(tags: tuple[int, ...]) -> str:
    return ", ".join(map(str, tags))
