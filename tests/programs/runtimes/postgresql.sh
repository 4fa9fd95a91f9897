# A cluster is made, a server serves four clients and a parallel query, and stops.
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
export PGHOST=$directory PGUSER=postgres LC_ALL=C
# It does not run as root; what a run needs of root comes along.
as=""
if [ "$(id -u)" = 0 ]; then
    chown postgres "$directory"
    as="setpriv --reuid postgres --regid postgres --clear-groups --inh-caps +sys_ptrace --ambient-caps +sys_ptrace"
fi
cd "$directory"
$as $RUN initdb -D "$directory/data" --no-sync > initdb.log 2>&1
echo $?
$as $RUN postgres -D "$directory/data" -c listen_addresses= -k "$directory" -c fsync=off > log 2>&1 &
for waited in $(seq 200); do
    psql -c 'select 1' postgres > ready 2>&1 && break
    sleep 0.1
done
pgbench -i -q -s 1 postgres > bench.log 2>&1
pgbench -c 4 -j 2 -t 25 postgres 2> bench.log | grep processed
psql -At postgres <<'END'
select count(*), sum(abalance) - (select sum(tbalance) from pgbench_tellers) from pgbench_accounts;
set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
select sum(aid) from pgbench_accounts;
checkpoint;
END
kill -INT $(head -1 "$directory/data/postmaster.pid")
wait $!
echo $?
