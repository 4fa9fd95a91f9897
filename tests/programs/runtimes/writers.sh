# Four processes write into one database at once.
sqlite3 database 'pragma journal_mode = wal; create table t(a, b);'
for k in 1 2 3 4; do
    (for i in $(seq 5); do sqlite3 -cmd '.timeout 30000' database "insert into t values($k, $i)"; done) &
done
wait
sqlite3 database 'select a, count(*), sum(b) from t group by a; pragma integrity_check;'
rm -f database*
