# Copies of the process as Python makes them: os.fork, multiprocessing in each way, pools, shared values.
import concurrent.futures
import multiprocessing
import os
import signal
import sys
import threading


def check(found, expected, what):
    if found != expected:
        print(f"{what}: {found!r}, not {expected!r}", file=sys.stderr)
        os._exit(99)


def square(number):
    return number * number


def add(value, lock, times):
    for _ in range(times):
        with lock:
            value.value += 1


def answer(connection):
    while (question := connection.recv()) is not None:
        connection.send(question[::-1])


def fill(queue, number):
    for index in range(100):
        queue.put(number * 100 + index)


def use(method):
    context = multiprocessing.get_context(method)
    with context.Pool(3) as pool:
        check(pool.map(square, range(100)), [number * number for number in range(100)], "a pool")
    value, lock = context.Value("i", 0), context.Lock()
    processes = [context.Process(target=add, args=(value, lock, 200)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    check((value.value, [process.exitcode for process in processes]), (600, [0, 0, 0]), "a value")
    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(theirs,))
    process.start()
    for word in ("abc", "x" * 100_000):
        ours.send(word)
        check(ours.recv(), word[::-1], "a pipe")
    ours.send(None)
    process.join()
    queue = context.Queue()
    processes = [context.Process(target=fill, args=(queue, number)) for number in range(3)]
    for process in processes:
        process.start()
    check(sorted(queue.get() for _ in range(300)), list(range(300)), "a queue")
    for process in processes:
        process.join()
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        check(list(executor.map(square, range(20))), [number * number for number in range(20)], "an executor")


def plain():
    numbers = list(range(10_000))
    child = os.fork()
    if child == 0:
        numbers.append(1)
        thread = threading.Thread(target=numbers.append, args=(2,))
        thread.start()
        thread.join()
        os._exit(5 if numbers[-2:] == [1, 2] else 6)
    check(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 5, "fork")
    check(len(numbers), 10_000, "the parent's")
    child = os.fork()
    if child == 0:
        signal.pause()
    os.kill(child, signal.SIGKILL)
    check(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), -9, "kill")
    child, terminal = os.forkpty()
    if child == 0:
        print("on a terminal", os.isatty(0))
        sys.stdout.flush()
        os._exit(0)
    shown = b""
    while not shown.endswith(b"\n"):
        shown += os.read(terminal, 100)
    check(shown, b"on a terminal True\r\n", "forkpty")
    os.waitpid(child, 0)


if __name__ == "__main__":
    plain()
    for method in ("fork", "spawn", "forkserver"):
        use(method)
    print("ok")
