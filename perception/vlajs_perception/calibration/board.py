"""What the camera looks for: a ChArUco board or an AprilTag of known size, found in an image or made to be printed.

The board's frame is OpenCV's, on its face: x to the right, y down as printed, z away from the viewer. Its origin is the
outer corner of the first square (ChArUco) or the centre of the tag. Pixels are (u, v), (0, 0) the first pixel's centre.
"""

import struct
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.calibration.errors import CalibrationError, NotSeenError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Image = NDArray[np.uint8]

MIN_CHARUCO_CORNERS = 6
"""A view with fewer corners is not used: they hardly fix a pose, and nothing tells of a wrong one among them."""
MM_PER_INCH = 25.4
RULER_MM = 50
"""Length of the line under a board, to be measured after printing."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What of a board an image shows.

    Attributes:
        ids: shape (N,), which corners.
        pixels: shape (N, 2), where they are in the image as taken.
        points_in_board_m: shape (N, 3), where they are on the board.
    """

    ids: IntArray
    pixels: FloatArray
    points_in_board_m: FloatArray


@dataclass(frozen=True, kw_only=True)
class CharucoBoard:
    """A chessboard with markers in its white squares; parts of it suffice.

    Attributes:
        columns: squares from left to right.
        rows: squares from top to bottom.
        square_m: side of a square as printed: measure it.
        marker_m: side of a marker as printed.
        dictionary: OpenCV's name of the markers.

    Raises:
        CalibrationError: a size no board has, or an unknown dictionary.
    """

    columns: int = 5
    rows: int = 7
    square_m: float = 0.03
    marker_m: float = 0.022
    dictionary: str = "DICT_5X5_100"

    def __post_init__(self) -> None:
        if not (3 <= self.columns <= 30 and 3 <= self.rows <= 30):
            raise CalibrationError(f"{self.columns} x {self.rows} squares: a board has 3 to 30 each way")
        if not 0.002 <= self.square_m <= 1.0:
            raise CalibrationError(f"square_m is {self.square_m}, must be 0.002 to 1 m: is it in millimetres?")
        if not 0.4 * self.square_m <= self.marker_m <= 0.9 * self.square_m:
            raise CalibrationError(
                f"marker_m is {self.marker_m}, must be 0.4 to 0.9 of square_m = {self.square_m} to leave a white margin"
            )
        markers = self.columns * self.rows // 2
        if len(_dictionary(self.dictionary).bytesList) < markers:
            raise CalibrationError(f"{self.dictionary} has too few markers for {markers}: take a larger one")

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height."""
        return self.columns * self.square_m, self.rows * self.square_m

    @property
    def centre_m(self) -> FloatArray:
        """The middle of the board in its frame, shape (3,)."""
        return np.array([*self.size_m, 0.0]) / 2

    def points_of(self, ids: IntArray) -> FloatArray:
        """Inner corners (N, 3) in the board's frame; id 0 is the first square's, ids run along the rows.

        Raises:
            CalibrationError: an id the board does not have.
        """
        _check_ids(ids, (self.columns - 1) * (self.rows - 1))
        row, column = np.divmod(ids, self.columns - 1)
        return np.stack([(column + 1) * self.square_m, (row + 1) * self.square_m, np.zeros(len(ids))], axis=-1)

    def detect(self, image: Image) -> Detection:
        """Find the board in a grey (H, W) or BGR (H, W, 3) image.

        Raises:
            NotSeenError: fewer than six corners are visible.
        """
        corners, ids, _, markers = self._detector.detectBoard(_grey(image))
        found = 0 if ids is None else len(ids)
        if found < MIN_CHARUCO_CORNERS:
            seen = 0 if markers is None else len(markers)
            raise NotSeenError(
                f"{found} corners and {seen} markers of the board are seen, at least {MIN_CHARUCO_CORNERS} corners are "
                "needed: bring it into view, light it evenly, hold it still, and check columns, rows and dictionary"
            )
        ids = np.asarray(ids, dtype=np.int64).reshape(-1)
        pixels = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
        return Detection(ids=ids, pixels=pixels, points_in_board_m=self.points_of(ids))

    def face(self, pixels_per_square: int) -> Image:
        """The board alone as a grey image; a square is so many pixels wide."""
        size = (self.columns * pixels_per_square, self.rows * pixels_per_square)
        return np.asarray(self._opencv.generateImage(size, marginSize=0, borderBits=1), dtype=np.uint8)

    def describe(self) -> str:
        """One line for the sheet."""
        return (
            f"ChArUco {self.columns} x {self.rows}, square {1e3 * self.square_m:g} mm, marker "
            f"{1e3 * self.marker_m:g} mm, {self.dictionary}"
        )

    @cached_property
    def _opencv(self) -> cv2.aruco.CharucoBoard:
        return cv2.aruco.CharucoBoard(
            (self.columns, self.rows), self.square_m, self.marker_m, _dictionary(self.dictionary)
        )

    @cached_property
    def _detector(self) -> cv2.aruco.CharucoDetector:
        return cv2.aruco.CharucoDetector(self._opencv)


@dataclass(frozen=True, kw_only=True)
class AprilTag:
    """One tag. Its four corners fix its tilt poorly: prefer a ChArUco board where there is room for one.

    Attributes:
        size_m: side of the black square as printed: measure it.
        tag_id: which of the family.
        family: OpenCV's name of the tags.

    Raises:
        CalibrationError: a size no tag has, or an unknown family or id.
    """

    size_m: float = 0.08
    tag_id: int = 0
    family: str = "DICT_APRILTAG_36h11"

    def __post_init__(self) -> None:
        if not 0.005 <= self.size_m <= 1.0:
            raise CalibrationError(f"size_m is {self.size_m}, must be 0.005 to 1 m: is it in millimetres?")
        tags = len(_dictionary(self.family).bytesList)
        if not 0 <= self.tag_id < tags:
            raise CalibrationError(f"tag_id is {self.tag_id}, {self.family} has 0 to {tags - 1}")

    @property
    def centre_m(self) -> FloatArray:
        """The middle of the tag in its frame, shape (3,)."""
        return np.zeros(3)

    def points_of(self, ids: IntArray) -> FloatArray:
        """Corners (N, 3) in the tag's frame: 0 top left, 1 top right, 2 bottom right, 3 bottom left.

        Raises:
            CalibrationError: an id that is none of these.
        """
        _check_ids(ids, 4)
        corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * self.size_m / 2
        return corners[ids]

    def detect(self, image: Image) -> Detection:
        """Find the tag in a grey (H, W) or BGR (H, W, 3) image.

        Raises:
            NotSeenError: it is not there, or more than once.
        """
        corners, tags, _ = self._detector.detectMarkers(_grey(image))
        which = np.flatnonzero(np.asarray(tags if tags is not None else []).reshape(-1) == self.tag_id)
        if len(which) != 1:
            raise NotSeenError(
                f"tag {self.tag_id} of {self.family} is seen {len(which)} times, must be once: bring it into view with "
                "its white margin, light it evenly, hold it still, and check tag_id and family"
            )
        ids = np.arange(4)
        pixels = np.asarray(corners[int(which[0])], dtype=np.float64).reshape(4, 2)
        return Detection(ids=ids, pixels=pixels, points_in_board_m=self.points_of(ids))

    def face(self, pixels_per_module: int) -> Image:
        """The tag alone as a grey image; each of its modules (eight or so to a side) is so many pixels wide."""
        dictionary = _dictionary(self.family)
        side = (dictionary.markerSize + 2) * pixels_per_module
        return np.asarray(cv2.aruco.generateImageMarker(dictionary, self.tag_id, side, borderBits=1), dtype=np.uint8)

    def describe(self) -> str:
        """One line for the sheet."""
        return f"AprilTag {self.tag_id} of {self.family}, black square {1e3 * self.size_m:g} mm"

    @cached_property
    def _detector(self) -> cv2.aruco.ArucoDetector:
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        return cv2.aruco.ArucoDetector(_dictionary(self.family), parameters)


Board = CharucoBoard | AprilTag
KINDS: dict[str, type[CharucoBoard] | type[AprilTag]] = {"charuco": CharucoBoard, "apriltag": AprilTag}


def board_to_dict(board: Board) -> dict[str, Any]:
    """Plain values for a file."""
    return {"type": "charuco" if isinstance(board, CharucoBoard) else "apriltag", **asdict(board)}


def board_from_dict(values: object) -> Board:
    """The board that :func:`board_to_dict` wrote down.

    Raises:
        CalibrationError: not such values.
    """
    kind = values.get("type") if isinstance(values, dict) else None
    if not isinstance(values, dict) or kind not in KINDS:
        raise CalibrationError(f"board is {values!r}: its type must be one of {', '.join(KINDS)}")
    known = {key: type(value) for key, value in asdict(KINDS[kind]()).items()}
    given = {key: value for key, value in values.items() if key != "type"}
    wrong = set(given) ^ set(known)
    wrong |= {key for key in set(given) & set(known) if type(given[key]) is not known[key]}
    if wrong:
        needed = ", ".join(f"{key} ({value.__name__})" for key, value in known.items())
        raise CalibrationError(f"board has missing, unknown or wrong {sorted(wrong)}: a {kind} has {needed}")
    return KINDS[kind](**given)


def sheet_png(board: Board, *, dots_per_inch: float = 300.0, margin_m: float = 0.01) -> bytes:
    """A PNG to print at 100 %: the board, a white margin, what it is, and a line of 50 mm to measure.

    A square of the board is a whole number of pixels, and the file says how many pixels a metre has.

    Raises:
        CalibrationError: a resolution that is too coarse for the board, or absurd.
    """
    if not 50 <= dots_per_inch <= 2400:
        raise CalibrationError(f"dots_per_inch is {dots_per_inch}, must be 50 to 2400")
    if isinstance(board, CharucoBoard):
        unit_m = board.square_m
    else:
        unit_m = board.size_m / (_dictionary(board.family).markerSize + 2)
    pixels = round(unit_m * dots_per_inch / MM_PER_INCH * 1e3)
    if pixels < 8:
        raise CalibrationError(
            f"{board.describe()} at {dots_per_inch:g} dots per inch has {pixels} pixels to a square or module, at "
            "least 8 are needed: raise dots_per_inch"
        )
    pixels_per_m = pixels / unit_m
    if not 0 < margin_m <= 0.2:
        raise CalibrationError(f"margin_m is {margin_m}, must be above 0 and at most 0.2 m")
    margin, foot = round(margin_m * pixels_per_m), round(0.012 * pixels_per_m)
    sheet = cv2.copyMakeBorder(
        board.face(pixels), margin, margin + foot, margin, margin, cv2.BORDER_CONSTANT, value=255
    )
    length = min(round(RULER_MM * 1e-3 * pixels_per_m), sheet.shape[1] - 2 * margin)
    bottom = sheet.shape[0] - foot
    cv2.line(sheet, (margin, bottom), (margin + length, bottom), 0, max(1, foot // 40))
    text = f"{board.describe()}; the line is {1e3 * length / pixels_per_m:.1f} mm"
    scale = 0.9 * (sheet.shape[1] - 2 * margin) / max(1, cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)[0][0])
    thickness = max(1, round(2 * scale))
    at = (margin, bottom + foot // 2)
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 0, thickness, cv2.LINE_AA)
    return with_resolution(png_of(np.asarray(sheet, dtype=np.uint8)), pixels_per_m)


def png_of(image: Image) -> bytes:
    """A PNG file's bytes.

    Raises:
        CalibrationError: not an image OpenCV can store.
    """
    done, data = cv2.imencode(".png", image)
    if not done:
        raise CalibrationError(f"an image of shape {image.shape} and type {image.dtype} cannot be stored as PNG")
    return data.tobytes()


def with_resolution(png: bytes, pixels_per_m: float) -> bytes:
    """The PNG with a chunk that says how many pixels a metre has, in place of any it had."""
    per_m = round(pixels_per_m)
    chunk = b"pHYs" + struct.pack(">IIB", per_m, per_m, 1)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    header_end = 8 + 25  # signature, then IHDR: length, name, 13 bytes, checksum
    rest, kept = png[header_end:], b""
    while rest:
        size = struct.unpack(">I", rest[:4])[0] + 12
        if rest[4:8] != b"pHYs":
            kept += rest[:size]
        rest = rest[size:]
    return png[:header_end] + chunk + kept


def _dictionary(name: str) -> cv2.aruco.Dictionary:
    number = getattr(cv2.aruco, name, None) if name.startswith("DICT_") else None
    if not isinstance(number, int):
        raise CalibrationError(f"{name!r} is no dictionary of OpenCV's: for example DICT_5X5_100, DICT_APRILTAG_36h11")
    return cv2.aruco.getPredefinedDictionary(number)


def _check_ids(ids: IntArray, count: int) -> None:
    if len(ids) and (np.min(ids) < 0 or np.max(ids) >= count):
        raise CalibrationError(
            f"corner ids {int(np.min(ids))} to {int(np.max(ids))}, the board has 0 to {count - 1}: the views were "
            "taken with another board"
        )


def _grey(image: Image) -> Image:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise CalibrationError(
            f"the image has shape {image.shape} and type {image.dtype}, must be (H, W) or (H, W, 3) of uint8: "
            "convert it"
        )
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
