# Substitutions, jobs and arrays.
for i in {1..3}; do echo $i | read number; print $number; done
typeset -A table; table[a]=1; print ${(k)table}
(exit 4); print $?
print -l $(seq 3 | sort -r)
sleep 0 & wait $!; print $?
diff <(echo a) <(echo b); print $?
print ok
