# Semaphores, locks, pools and memory objects that Python shares by name, used by threads.
import _posixshmem
import mmap
import multiprocessing
import os
import sqlite3
import threading
from multiprocessing.pool import ThreadPool

lock = multiprocessing.Lock()
total = 0


def add(count):
    global total
    for _ in range(count):
        with lock:
            total += 1
    return count


with ThreadPool(4) as pool:
    assert sum(pool.map(add, [50] * 8)) == 400
assert total == 400, total

# What SharedMemory does, without the helper process that it starts.
flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
descriptor = _posixshmem.shm_open("/banyan-test-python", flags, mode=0o600)
os.ftruncate(descriptor, 4096)
memory = mmap.mmap(descriptor, 4096)
again = _posixshmem.shm_open("/banyan-test-python", os.O_RDWR, mode=0o600)
other = mmap.mmap(again, 4096)
_posixshmem.shm_unlink("/banyan-test-python")
memory[5] = 77
assert other[5] == 77

anonymous = mmap.mmap(-1, 4096)
anonymous[3] = 9
assert anonymous[3] == 9

# SQLite reads by mapping while another connection writes.
connection = sqlite3.connect("shared.db", isolation_level=None)
connection.execute("pragma mmap_size=1000000")
connection.execute("create table numbers(n integer)")
faults = []


def read():
    reader = sqlite3.connect("shared.db", timeout=30, isolation_level=None)
    reader.execute("pragma mmap_size=1000000")
    for _ in range(20):
        count, sum_ = reader.execute("select count(*), total(n) from numbers").fetchone()
        if count % 40 or sum_ != count:
            faults.append((count, sum_))


readers = [threading.Thread(target=read) for _ in range(3)]
for reader in readers:
    reader.start()
connection.execute("pragma busy_timeout=30000")
for _ in range(10):
    connection.execute("begin immediate")
    connection.executemany("insert into numbers values(?)", [(1,)] * 40)
    connection.execute("commit")
for reader in readers:
    reader.join()
assert not faults, faults
assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
connection.close()
os.unlink("shared.db")
print("ok")
