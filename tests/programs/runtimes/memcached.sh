# Four threads serve eight connections.
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
chmod 777 "$directory"
$RUN memcached -u nobody -s "$directory/socket" -a 0777 -t 4 &
python3 - "$directory/socket" <<'END'
import socket, sys, threading, time
for waited in range(200):
    try:
        socket.socket(socket.AF_UNIX).connect(sys.argv[1])
        break
    except OSError:
        time.sleep(0.1)
wrong = []
def work(k):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    file = connection.makefile("rwb")
    for i in range(300):
        value = (b"%d-%d" % (k, i)) * 20
        file.write(b"set k%d-%d 0 0 %d\r\n%s\r\nget k%d-%d\r\n" % (k, i, len(value), value, k, i))
        file.flush()
        answer = [file.readline() for line in range(4)]
        if answer[0] != b"STORED\r\n" or answer[2].strip() != value:
            wrong.append(answer)
threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(wrong), "wrong")
END
kill $!
wait $!
echo $?
