# A small C project: seven files, compiled four at once.
program: f1.o f2.o f3.o f4.o f5.o f6.o main.o
	@gcc -o $@ $^
%.o: %.c
	@gcc -O2 -c -o $@ $<
