"""Node ``twin_camera``: what a fixed camera sees of the twin, in a process of its own, stamped with robot time.

Pictures follow from the twin's messages and from nothing else: without a newer tick there is no picture, so that a
twin that has stopped is a camera that has stopped.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import sys
from collections import deque
from dataclasses import fields
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, JointState, MultiDOFJointState

from vlajs.nodes.image_messages import camera_info_message, image_message
from vlajs.nodes.lifecycle import refuse_on, run_lifecycle_node
from vlajs.nodes.messages import CAMERA_FRAME, CAMERA_INFO_TOPIC, IMAGE_TOPIC, STREAM_QOS, stamp_ns_of
from vlajs.nodes.parameters import declare
from vlajs.nodes.shared_memory import use_large_shared_memory
from vlajs.nodes.twin_messages import BODIES_TOPIC, TRUE_JOINTS_TOPIC, seen_from
from vlajs.twin.camera import TwinCamera, TwinCameraConfig
from vlajs.twin.disturbance import Disturbance
from vlajs.twin.exposure import Exposure
from vlajs.twin.scene import FRONT_AT_M, FRONT_FOVY_DEG, FRONT_POSITION_M, CameraConfig, SceneConfig
from vlajs_perception.calibration.board import CharucoBoard
from vlajs_perception.rendering.world import RenderError
from vlajs_perception.table_tags import TableTags

_DISTURBANCES = tuple(field.name for field in fields(Disturbance))


class TwinCameraNode(LifecycleNode):
    """Renders from configure to cleanup, publishes while active."""

    def __init__(self) -> None:
        """Declare the parameters; nothing is built before configuration."""
        super().__init__("twin_camera")
        declare(self, "width", TwinCameraConfig.width_px)
        declare(self, "height", TwinCameraConfig.height_px)
        declare(self, "rate_hz", 10.0)
        declare(self, "latency_s", 0.0)
        declare(self, "position_m", list(FRONT_POSITION_M))
        declare(self, "look_at_m", list(FRONT_AT_M))
        declare(self, "fovy_deg", FRONT_FOVY_DEG)
        declare(self, "cube_half_size_m", SceneConfig.cube_half_size_m)
        declare(self, "board", False)
        declare(self, "table_tags", "")
        for field in fields(Disturbance):
            default = field.default
            declare(self, field.name, list(default) if isinstance(default, tuple) else default)
        self._camera: TwinCamera | None = None
        self._active = False
        self._inputs: list[Subscription] = []
        self._disturbance = Disturbance()
        self._joints: JointState | None = None
        self._bodies: MultiDOFJointState | None = None
        self._waiting: deque[tuple[int, Image, CameraInfo]] = deque()
        self.add_on_set_parameters_callback(self._on_parameters)

    @refuse_on(ValueError, RenderError, OSError)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, build the world, make sure that something can be rendered."""
        self._exposure = Exposure(rate_hz=self._number("rate_hz"), latency_s=self._number("latency_s"))
        self._disturbance = self._disturbance_with({})
        self._camera = TwinCamera(self._config())
        self._image_out = self.create_lifecycle_publisher(Image, IMAGE_TOPIC, STREAM_QOS)
        self._info_out = self.create_lifecycle_publisher(CameraInfo, CAMERA_INFO_TOPIC, STREAM_QOS)
        self._inputs = [
            self.create_subscription(JointState, TRUE_JOINTS_TOPIC, self._on_joints, STREAM_QOS),
            self.create_subscription(MultiDOFJointState, BODIES_TOPIC, self._on_bodies, STREAM_QOS),
        ]
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to publish."""
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop publishing, forget what was not published yet."""
        self._active = False
        self._waiting.clear()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the renderer."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop everything, from any state."""
        self._active = False
        self._release()
        return TransitionCallbackReturn.SUCCESS

    # -- parameters ---------------------------------------------------------------------------------------------

    def _config(self) -> TwinCameraConfig:
        """Raises ValueError with the reason for a parameter out of its range."""
        x, y, z = self._three("position_m")
        camera = CameraConfig.looking(
            position_m=(x, y, z), at_m=self._three("look_at_m"), fovy_deg=self._number("fovy_deg")
        )
        tags = str(self.get_parameter("table_tags").value)
        return TwinCameraConfig(
            scene=SceneConfig(cube_half_size_m=self._number("cube_half_size_m"), front_camera=camera),
            width_px=self.get_parameter("width").get_parameter_value().integer_value,
            height_px=self.get_parameter("height").get_parameter_value().integer_value,
            board=CharucoBoard() if self.get_parameter("board").value else None,
            tags=TableTags.read(Path(tags)) if tags else None,
        )

    def _number(self, name: str) -> float:
        return self.get_parameter(name).get_parameter_value().double_value

    def _three(self, name: str) -> tuple[float, float, float]:
        value = list(self.get_parameter(name).get_parameter_value().double_array_value)
        if len(value) != 3:
            raise ValueError(f"{name} is {value}: three numbers are needed, metres in the base")
        return (value[0], value[1], value[2])

    def _disturbance_with(self, changed: dict[str, Any]) -> Disturbance:
        """What the parameters say, some of them changed; raises ValueError for one that cannot be."""
        values: dict[str, Any] = {name: self.get_parameter(name).value for name in _DISTURBANCES} | changed
        for name in ("camera_offset_m", "camera_offset_deg"):
            values[name] = tuple(values[name])  # rclpy hands arrays out as array.array
        return Disturbance(**values)

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Take a disturbance over at once; everything else stays as it was configured."""
        changed: dict[str, Any] = {p.name: p.value for p in parameters if p.name in _DISTURBANCES}
        fixed = [p.name for p in parameters if p.name not in _DISTURBANCES and self.has_parameter(p.name)]
        if self._camera is not None and fixed:
            return SetParametersResult(
                successful=False, reason=f"{', '.join(fixed)} cannot change now: set it and configure the node again"
            )
        if self._camera is not None and changed:
            try:
                self._disturbance = self._disturbance_with(changed)
            except ValueError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    # -- pictures -----------------------------------------------------------------------------------------------

    def _on_joints(self, message: JointState) -> None:
        self._joints = message
        self._see()

    def _on_bodies(self, message: MultiDOFJointState) -> None:
        self._bodies = message
        self._see()

    def _see(self) -> None:
        """When both halves of one tick are there, in whichever order: let out what is due, take a picture if due."""
        joints, message = self._joints, self._bodies
        if joints is None or message is None or joints.header.stamp != message.header.stamp:
            return
        camera = self._camera
        if camera is None or not self._active:
            return
        stamp_ns = stamp_ns_of(message.header)
        if self._exposure.restarted(stamp_ns):
            self.get_logger().info("the twin was restarted: its clock began anew")
            self._waiting.clear()
        self._let_out(stamp_ns)
        if not self._exposure.is_due(stamp_ns):
            return
        try:
            picture = camera.render(seen_from(joints, message), self._disturbance)
        except ValueError as error:
            self.get_logger().error(f"no picture: {error}", throttle_duration_sec=2.0)
            return
        size = (camera.config.width_px, camera.config.height_px)
        image = image_message(picture, stamp_ns, CAMERA_FRAME)
        info = camera_info_message(camera.camera.matrix, size, stamp_ns, CAMERA_FRAME)
        self._waiting.append((stamp_ns + self._exposure.latency_ns, image, info))
        self._let_out(stamp_ns)

    def _let_out(self, now_ns: int) -> None:
        """Publish the pictures whose time has come."""
        while self._waiting and self._waiting[0][0] <= now_ns:
            _, image, info = self._waiting.popleft()
            self._info_out.publish(info)
            self._image_out.publish(image)

    def _release(self) -> None:
        if self._camera is None:
            return
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        for publisher in (self._image_out, self._info_out):
            # it is a LifecyclePublisher, rclpy's annotations call it a Publisher
            self.destroy_lifecycle_publisher(publisher)  # type: ignore[arg-type]
        self._camera.close()
        self._camera = None
        self._joints = self._bodies = None
        self._waiting.clear()


def main() -> int:
    """Run the node until a signal; the process's exit code."""
    use_large_shared_memory()
    # one thread: OpenGL's context belongs to it
    return run_lifecycle_node(TwinCameraNode, executor_threads=1)


if __name__ == "__main__":
    sys.exit(main())
