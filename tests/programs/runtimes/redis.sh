# A server with threads for its connections, copies of its process that write, and its end.
# Files of their own: what a server leaves differs from run to run.
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
client() { redis-cli -s "$directory/socket" "$@"; }
$RUN redis-server --port 0 --unixsocket "$directory/socket" --io-threads 2 --dir "$directory" --save "" \
    --appendonly yes --logfile "$directory/log" &
for waited in $(seq 200); do
    [ "$(client ping 2> "$directory/none")" = PONG ] && break
    sleep 0.1
done
redis-benchmark -s "$directory/socket" -n 500 -c 8 -t set,get,incr,lpush > "$directory/rates" && echo done
client set a 1
client incr a
client bgsave
for waited in $(seq 200); do
    client info persistence | grep -q rdb_bgsave_in_progress:0 && break
    sleep 0.05
done
client info persistence | tr -d '\r' | grep rdb_last_bgsave_status
client shutdown nosave
wait $!
echo $?
