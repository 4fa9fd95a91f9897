# One event loop: children, a signal, an executor's thread, and both ends of a connection.
import asyncio, os, signal


async def child(k):
    line = f'echo {k}; exit {k}'
    process = await asyncio.create_subprocess_exec('/bin/sh', '-c', line, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.strip(), process.returncode


async def main():
    print(await asyncio.gather(*[child(k) for k in range(4)]))
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, came.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(came.wait(), 30)
    print(await loop.run_in_executor(None, lambda: sum(range(100000))))
    server = await asyncio.start_server(lambda r, w: (w.write(b'hi'), w.close()), '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    print(await reader.read())
    writer.close()
    server.close()

asyncio.run(main())
print('ok')
