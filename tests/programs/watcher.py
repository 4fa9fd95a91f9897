"""Runs a command on a terminal of 80 columns and 24 lines, and ends it: watcher.py q|ctrl-c|term|hangup WORD COMMAND...

When the terminal has shown WORD, it types, or sends the signal. What was shown, the end, and whether the
terminal is as it was before, are reported as JSON on stdout.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

LIMIT_SECONDS = 40


def main():
    what, word, command = sys.argv[1], sys.argv[2].encode(), sys.argv[3:]
    # After a hang-up there is no controller, and no state of the terminal to compare.
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(terminal)
    child = os.fork()
    if child == 0:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(terminal, number)
        os.execvp(command[0], command)
    shown, is_told, was_raw, end = b"", False, False, time.monotonic() + LIMIT_SECONDS
    status = None
    while status is None or (controller and select.select([controller], [], [], 0)[0]):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            sys.exit(f"it did not end within {LIMIT_SECONDS} s; the terminal showed {shown!r}")
        if controller is None:
            time.sleep(0.05)
        elif select.select([controller], [], [], 0.05)[0]:
            shown += os.read(controller, 65536)
        if not is_told and word in shown:
            is_told = True
            was_raw = not termios.tcgetattr(terminal)[3] & termios.ICANON
            if what == "hangup":
                os.close(controller)
                controller = None
            elif what == "term":
                os.kill(child, signal.SIGTERM)
            else:
                os.write(controller, {"q": b"q", "ctrl-c": b"\x03"}[what])
        if status is None:
            done, found = os.waitpid(child, os.WNOHANG)
            status = found if done else None
    print(
        json.dumps(
            {
                "shown": shown.decode(errors="replace"),
                "status": os.waitstatus_to_exitcode(status),
                "was_raw": was_raw,
                "is_as_before": controller is None or termios.tcgetattr(terminal) == before,
            }
        )
    )


main()
