"""The end of a process that has a hand; its simulated one speaks to one client at a time."""

import subprocess
import sys

from vlajs.twin.server import TwinServer


def test_a_process_that_ends_while_the_fingers_move_ends_well(twin: TwinServer) -> None:
    """A thread inside the client when Python ends would abort the process ("terminate called")."""
    program = (
        "import sys, time\n"
        "from vlajs.robot.hand import Hand\n"
        "hand = Hand(sys.argv[1])\n"
        "start_m = hand.state().width_m\n"
        "hand.close_fingers() if start_m > 0.04 else hand.open_fingers()\n"
        "while abs(hand.state().width_m - start_m) < 0.005:\n"
        "    time.sleep(0.002)\n"
        "hand.stop()\n"  # as a bridge does first when it winds down
        "hand.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, twin.address], capture_output=True, text=True, timeout=60.0, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
