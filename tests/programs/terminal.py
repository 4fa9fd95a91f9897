"""Runs a command on a terminal of its own and types at it: terminal.py ctrl-c|ctrl-z|size COMMAND...

The command says "ready" on its terminal when it may be typed at. What it prints, and how it ends, is
reported on stdout.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

what, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    os.execvp(command[0], command)

output = b""


def read_until(wanted, seconds=30):
    """Reads from the terminal until `wanted` has come, or to the end if it is None."""
    global output
    end = time.monotonic() + seconds
    while wanted is None or wanted not in output:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            sys.exit(f"no {wanted!r} within {seconds} s, only {output!r}")
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            part = os.read(terminal, 4096)
        except OSError:
            return
        if not part:
            return
        output += part


def wait_for(flags, seconds=10):
    """The child's next status, or None."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, flags | os.WNOHANG)
        if pid:
            return status
        time.sleep(0.002)
    return None


if what == "ctrl-c":
    read_until(b"ready")
    os.write(terminal, b"\x03")
elif what == "ctrl-z":
    read_until(b"ready")
    os.write(terminal, b"\x1a")
    status = wait_for(os.WUNTRACED)
    print("stopped", status is not None and os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTSTP)
    os.kill(child, signal.SIGCONT)
    time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
read_until(None)
status = wait_for(0)
if status is None:
    os.kill(child, signal.SIGKILL)
    sys.exit("the command did not end")
print(output.decode().replace("\r\n", "\n"), end="")
if os.WIFSIGNALED(status):
    print("ended by signal", os.WTERMSIG(status))
else:
    print("ended with status", os.WEXITSTATUS(status))
