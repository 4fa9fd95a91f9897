# What shells do with copies of themselves.
set -eu
test "$(echo one | tr o O)" = One
test "$(seq 1000 | while read number; do echo $((number * 2)); done | tail -1)" = 2000
(exit 3) || test $? = 3
value=outside
(value=inside; test $value = inside)
test $value = outside
count=0
for file in /bin /etc /usr; do
    count=$((count + $(ls -d $file | wc -l)))
done
test $count = 3
# A shell says that it was killed as soon as it sees it: now, or when it waits.
{ sleep 100 & kill -KILL $!; wait $! || test $? = 137; } 2> /dev/null
{ echo to; echo fro; } | { read first; read second; test "$second $first" = "fro to"; }
cat <<END | grep -q "here: $(echo document)"
here: document
END
trap 'echo left' EXIT
f() { local sum=0; for n in 1 2 3; do sum=$((sum + $(echo $n))); done; echo $sum; }
test $(f) = 6
for n in 1 2 3 4 5; do (sleep 0.0$n; echo $n) & done | sort | tr -d '\n' | grep -q 12345
wait
echo ok
trap - EXIT
