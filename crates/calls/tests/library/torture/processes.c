/* What belongs to a process: errno, environment, locale, directory, time, signals, and other processes. */
#include "torture.h"
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifndef PROGRAM
#include <ctype.h>
#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <stdio.h>
#include <time.h>
int p_errno(int value) { errno = value; return -1; }
int p_errno_kept(void) { return errno; }
int p_fails(void) { return open("/no/such/file", O_RDONLY); }
const char *p_error_text(int number) { return strerror(number); }
const char *p_environment(const char *name) { return getenv(name); }
int p_set_environment(const char *name, const char *value) { return setenv(name, value, 1); }
const char *p_locale(void) { return setlocale(LC_ALL, 0); }
const char *p_set_locale(const char *name) { return setlocale(LC_NUMERIC, name); }
const char *p_radix(void) { return localeconv()->decimal_point; }
int p_is_letter(int c) { return isalpha(c) != 0; }
long p_wide(const char *text) { wchar_t out[50]; return (long)mbstowcs(out, text, 50); }
const char *p_directory(void) { static char path[4096]; return getcwd(path, sizeof path); }
long p_hour(long at) { time_t t = at; struct tm tm; localtime_r(&t, &tm); return tm.tm_hour; }
const char *p_time_text(long at) { time_t t = at; return asctime(gmtime(&t)); }
int p_random(unsigned seed) { srand(seed); return rand() ^ rand(); }
int p_random_next(void) { return rand(); }
double p_math(double a) { return sin(a) + exp(a) + pow(a, 2.5) + fabs(a); }
int p_process(long given) { return getpid() == given; }
int p_parent(long given) { return getppid() == given; }
int p_user(long given) { return (long)getuid() == given; }
int p_raise(int number) { return raise(number); }
static volatile int caught;
static void catch(int number) { caught = number; }
int p_catch(int number) { signal(number, catch); raise(number); signal(number, SIG_DFL); return caught; }
int p_handler(int number, void (*f)(int)) { signal(number, f); raise(number); return 1; }
int p_block(int number) { sigset_t set; sigemptyset(&set); sigaddset(&set, number); return sigprocmask(SIG_BLOCK, &set, 0); }
int p_kill(long process, int number) { return kill((pid_t)process, number); }
int p_fork(int status) { pid_t child = fork(); if (!child) _exit(status); int got = 0; waitpid(child, &got, 0); return WEXITSTATUS(got); }
int p_fork_apart(int rounds) { static int value; char *text = malloc(20); for (int i = 0; i < rounds; i++) { value = 1; strcpy(text, "parent"); pid_t child = fork(); if (!child) { value = 2; strcpy(text, "child"); free(malloc(5000)); _exit(value + 1); } int got = 0; waitpid(child, &got, 0); if (value != 1 || strcmp(text, "parent") || WEXITSTATUS(got) != 3) return i; } free(text); return rounds; }
const char *p_environment_of_hidden(void) { char *name = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); strcpy(name, "TORTURE_WORD"); const char *value = getenv(name); munmap(name, 4096); return value; }
long p_child(void) { pid_t child = fork(); if (!child) _exit(7); return child; }
int p_system(const char *command) { return WEXITSTATUS(system(command)); }
int p_output(const char *command, char *out, int size) { FILE *pipe = popen(command, "r"); if (!pipe || !fgets(out, size, pipe)) return -1; return WEXITSTATUS(pclose(pipe)); }
static void at_end(void) { puts("at the library's end"); }
int p_at_exit(void) { return atexit(at_end); }
int p_at_exit_of(void (*f)(void)) { return atexit(f); }
static int built;
__attribute__((constructor)) static void build(void) { built = 11; }
int p_built(void) { return built; }
double p_rounding(double a) { return nearbyint(a); }
unsigned p_sleep(void) { struct timespec t = {0, 1000000}; return (unsigned)nanosleep(&t, 0); }
int p_name(char *out, size_t size) { return gethostname(out, size); }
long p_page(void) { return sysconf(_SC_PAGESIZE); }
const char *p_program(void) { extern char *program_invocation_short_name; return program_invocation_short_name; }
#else
#include "rows.h"
static char text[300];
static volatile int seen;
static void see(int number) { seen = number; }
static void at_the_end(void) { printf("at the program's end\n"); }
#define ROWS(X) \
    X(p_errno, errno = 0; int r = p_errno(ENOTDIR); say("%d %d", r, errno)) \
    X(p_errno_kept, errno = EXDEV; int r = p_errno_kept(); say("%d %d", r, errno)) \
    X(p_fails, errno = 0; int r = p_fails(); say("%d %d", r, errno)) \
    X(p_error_text, say("%s", p_error_text(ENOENT))) \
    X(p_environment, say("%s %d", p_environment("TORTURE_WORD"), p_environment("TORTURE_NONE") == 0)) \
    X(p_set_environment, p_set_environment("TORTURE_NEW", "new"); say("%s", getenv("TORTURE_NEW") ? getenv("TORTURE_NEW") : "none")) \
    X(p_locale, say("%s", p_locale())) \
    X(p_set_locale, say("%s", p_set_locale("C"))) \
    X(p_radix, say("%s", p_radix())) \
    X(p_is_letter, say("%d %d", p_is_letter('x'), p_is_letter('5'))) \
    X(p_wide, say("%ld", p_wide("\xe2\x82\xac uro"))) \
    X(p_directory, say("%d", strcmp(p_directory(), getcwd(text, sizeof text)))) \
    X(p_hour, say("%ld", p_hour(1000000000))) \
    X(p_time_text, say("%.24s", p_time_text(1000000000))) \
    X(p_random, say("%d", p_random(5))) \
    X(p_random_next, srand(9); int a = p_random_next(); srand(9); say("%d", a == rand())) \
    X(p_math, say("%a", p_math(1.25))) \
    X(p_process, say("%d", p_process(getpid()))) \
    X(p_parent, say("%d", p_parent(getppid()))) \
    X(p_user, say("%d", p_user(getuid()))) \
    X(p_raise, signal(SIGUSR1, see); p_raise(SIGUSR1); say("%d", seen == SIGUSR1)) \
    X(p_catch, say("%d", p_catch(SIGUSR2) == SIGUSR2)) \
    X(p_handler, seen = 0; p_handler(SIGUSR1, see); say("%d", seen == SIGUSR1)) \
    X(p_block, sigset_t set; p_block(SIGWINCH); sigprocmask(SIG_BLOCK, 0, &set); say("%d", sigismember(&set, SIGWINCH))) \
    X(p_kill, signal(SIGUSR2, see); seen = 0; int r = p_kill(getpid(), SIGUSR2); say("%d %d", r, seen == SIGUSR2)) \
    X(p_system, say("%d", p_system("exit 3"))) \
    X(p_output, int r = p_output("echo of a command", text, sizeof text); say("%d %.12s", r, text)) \
    X(p_program, say("%s", p_program())) \
    X(p_built, say("%d", p_built())) \
    X(p_rounding, say("%g", p_rounding(2.5))) \
    X(p_sleep, say("%u", p_sleep())) \
    X(p_name, char own[100]; int r = p_name(text, 100); gethostname(own, 100); say("%d %d", r, strcmp(own, text))) \
    X(p_page, say("%ld", p_page())) \
    X(p_at_exit_of, say("%d", p_at_exit_of(at_the_end))) \
    X(p_at_exit, say("%d", p_at_exit())) \
    X(p_fork, say("%d", p_fork(9))) \
    X(p_fork_apart, say("%d", p_fork_apart(5))) \
    X(p_environment_of_hidden, say("%s", p_environment_of_hidden())) \
    X(p_child, int status = 0; long child = p_child(); say("%d", waitpid((pid_t)child, &status, 0) == child); say(" %d", WEXITSTATUS(status)))
SUBJECT(processes)
#endif
