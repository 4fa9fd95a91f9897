# Starts other programs in every way of Python's standard library that needs no copy of the process.
import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

failures = []


def check(found, expected, what):
    if found != expected:
        failures.append(f"{what}: {found!r}, not {expected!r}")


def use(number):
    shell = subprocess.run(["sh", "-c", f"cat; echo {number}; exit {number}"], input=b"in ", capture_output=True)
    check((shell.stdout, shell.returncode), (b"in %d\n" % number, number), "run")
    check(subprocess.check_output("echo $VALUE", shell=True, env={"VALUE": "x"}, cwd="/"), b"x\n", "environment")
    check(subprocess.check_output("pwd", cwd="/usr"), b"/usr\n", "directory")
    # Thousands of lines both ways, so that neither pipe holds all.
    lines = b"".join(b"%d\n" % line for line in range(20000))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        check(cat.communicate(lines)[0], lines, "communicate")
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        sleeper.send_signal(signal.SIGTERM)
        check(sleeper.wait(), -signal.SIGTERM, "signal")
    try:
        subprocess.run(["/nothing/here"])
        failures.append("/nothing/here was executed")
    except FileNotFoundError:
        pass
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as sleeper:
        check(os.getsid(sleeper.pid), sleeper.pid, "session")
        os.killpg(sleeper.pid, signal.SIGKILL)
    check(os.waitstatus_to_exitcode(os.system("exit 3")), 3, "system")
    check(os.popen("echo popen").read(), "popen\n", "popen")
    child = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 4"], os.environ)
    check(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 4, "posix_spawn")


async def together():
    started = time.monotonic()
    children = [await asyncio.create_subprocess_exec("sleep", "0.5") for _ in range(4)]
    check([await child.wait() for child in children], [0] * 4, "asyncio")
    check(time.monotonic() - started < 60, True, "asyncio's end")


use(1)
threads = [threading.Thread(target=use, args=[number]) for number in range(2, 8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
asyncio.run(together())
for failure in failures:
    print(failure, file=sys.stderr)
print("failed" if failures else "ok")
