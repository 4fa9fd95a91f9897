"""A ThreadPoolExecutor, queues, locks, events and exceptions of CPython."""

import collections
import queue
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed

WORKERS = 6


def compress(number):
    data = bytes((number * 7 + index * index) % 251 for index in range(20000))
    return number, len(zlib.compress(data, 6)), zlib.crc32(data)


def fail(number):
    raise ValueError(f"number {number}")


with ThreadPoolExecutor(max_workers=WORKERS) as pool:
    for result in pool.map(compress, range(24)):
        print(*result)
    futures = {pool.submit(pow, number, 20000, 10**9 + 7): number for number in range(2, 30)}
    powers = {futures[future]: future.result() for future in as_completed(futures)}
    for number in sorted(powers):
        print(number, powers[number])
    try:
        pool.submit(fail, 3).result()
    except ValueError as error:
        print("raised", error)

work, done = queue.Queue(maxsize=4), collections.Counter()
lock, everyone = threading.Lock(), threading.Barrier(WORKERS)
local = threading.local()


def worker():
    everyone.wait()
    local.count = 0
    while (item := work.get()) is not None:
        local.count += 1
        with lock:
            done[item % 5] += 1
    with lock:
        done["items"] += local.count


threads = [threading.Thread(target=worker) for _ in range(WORKERS)]
for thread in threads:
    thread.start()
for item in range(200):
    work.put(item)
for _ in threads:
    work.put(None)
for thread in threads:
    thread.join()
print(sorted(done.items(), key=str))

woken = threading.Event()
timer = threading.Timer(0.02, woken.set)
timer.start()
print("woken", woken.wait(20))
print("ok")
