"""Runs a command as a shell's foreground job on a terminal of its own, and types at it:
terminal.py none|ctrl-c|ctrl-z COMMAND...

The command says "ready" when it may be typed at. What the terminal showed, the job's stops and its end
are reported on stdout.
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

LIMIT_SECONDS = 40


def be_the_shell(command):
    """Starts the job, gives it the terminal, and tells how it stops and ends, as a shell does."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    ready, go = os.pipe()
    job = os.fork()
    if job == 0:
        os.read(ready, 1)
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execvp(command[0], command)
    os.setpgid(job, job)
    os.tcsetpgrp(0, job)
    os.write(go, b"g")
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            print(f"\n[stopped by signal {os.WSTOPSIG(status)}]", flush=True)
            os.tcsetpgrp(0, job)
            os.killpg(job, signal.SIGCONT)
            time.sleep(0.1)
            os.kill(job, signal.SIGTERM)
        elif os.WIFSIGNALED(status):
            print(f"\n[ended by signal {os.WTERMSIG(status)}]", flush=True)
            os._exit(0)
        else:
            print(f"\n[ended with status {os.WEXITSTATUS(status)}]", flush=True)
            os._exit(0)


def main():
    what, command = sys.argv[1], sys.argv[2:]
    shell, terminal = pty.fork()
    if shell == 0:
        be_the_shell(command)
    output, typed, end = b"", what == "none", time.monotonic() + LIMIT_SECONDS
    while True:
        if time.monotonic() > end:
            os.killpg(os.tcgetpgrp(terminal), signal.SIGKILL)
            os.kill(shell, signal.SIGKILL)
            sys.exit(f"the job did not end within {LIMIT_SECONDS} s; the terminal showed {output!r}")
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        output += part
        if not typed and b"ready" in output:
            typed = True
            os.write(terminal, {"ctrl-c": b"\x03", "ctrl-z": b"\x1a"}[what])
    os.waitpid(shell, 0)
    print(output.decode().replace("\r\n", "\n"), end="")


main()
