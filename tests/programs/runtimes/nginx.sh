# Two worker processes with a pool of threads, a configuration that is read again, and a graceful end.
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
mkdir "$directory/html"
for i in 1 2 3 4; do head -c 100000 /dev/urandom > "$directory/html/$i"; done
chmod -R a+rX "$directory"
cat > "$directory/configuration" <<END
daemon off; worker_processes 2; pid $directory/pid; error_log $directory/errors; thread_pool default threads=4;
events { worker_connections 64; }
http {
    access_log off; aio threads; sendfile off; client_body_temp_path $directory/b; proxy_temp_path $directory/p;
    fastcgi_temp_path $directory/f; uwsgi_temp_path $directory/u; scgi_temp_path $directory/s;
    server { listen unix:$directory/socket; root $directory/html; }
}
END
get() { curl -s --unix-socket "$directory/socket" "http://here/$1"; }
$RUN /usr/sbin/nginx -c "$directory/configuration" &
server=$!
for waited in $(seq 200); do
    get 1 > "$directory/got" && break
    sleep 0.1
done
for i in 1 2 3 4; do
    clients=
    for again in 1 2 3; do
        { get $i | cmp - "$directory/html/$i" && echo same; } &
        clients="$clients $!"
    done
    wait $clients
done
kill -HUP $(cat "$directory/pid")
sleep 0.5
get 2 | cmp - "$directory/html/2" && echo same after all
kill -QUIT $(cat "$directory/pid")
wait $server
echo $?
