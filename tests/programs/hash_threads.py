"""CPython threads that hash: hashlib lets go of the interpreter's lock for large blocks."""

import hashlib
import sys
import threading

THREADS = 6

with open(sys.argv[1], "rb") as file:
    data = file.read()

part = (len(data) + THREADS - 1) // THREADS
digests = [None] * THREADS


def digest(index):
    hasher = hashlib.sha256()
    for _ in range(4):
        hasher.update(data[index * part : (index + 1) * part])
    digests[index] = hasher.hexdigest()


threads = [threading.Thread(target=digest, args=(index,)) for index in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for index, value in enumerate(digests):
    print(index, value)
print("ok")
