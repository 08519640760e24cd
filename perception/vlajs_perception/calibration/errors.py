"""What goes wrong in a calibration. Every message names the value, the limit, the likely cause and the remedy."""


class CalibrationError(ValueError):
    """A board, view or calibration that cannot be used as given."""


class NotSeenError(CalibrationError):
    """The board is not in the image, or too little of it to tell where it is."""


class BadSetError(CalibrationError):
    """A set of views that no trustworthy calibration can come from.

    Attributes:
        problems: what is wrong and what to add, one sentence or two each.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(["this set of views is refused:", *(f"- {problem}" for problem in problems)]))


class CalibrationFileError(CalibrationError):
    """A calibration file that is damaged, of another version, or not a calibration."""
