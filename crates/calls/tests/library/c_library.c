/* Texts and structures that the C library of the library keeps, used by the program and by its own streams. */
#include <langinfo.h>
#include <locale.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifndef PROGRAM
void c_library_print(int number)
{
    static const char *const words[] = {"zero", "one"};
    fprintf(stderr, "error %d: %s\n", number, strerror(number));
    fputs(strerror(number), stderr);
    fputc('\n', stderr);
    printf("%s %s\n", words[number & 1], strsignal(number));
}
const char *c_library_error(int number) { return strerror(number); }
const char *c_library_signal(int number) { return strsignal(number); }
const char *c_library_name_error(int number) { return gai_strerror(number); }
struct tm *c_library_time(time_t time) { return localtime(&time); }
const char *c_library_date(time_t time) { return asctime(gmtime(&time)); }
const char *c_library_environment(const char *name) { return getenv(name); }
const char *c_library_day(void) { return nl_langinfo(DAY_3); }
const char *c_library_locale(void) { return setlocale(LC_ALL, 0); }
struct lconv *c_library_numbers(void) { return localeconv(); }
#else
void c_library_print(int);
const char *c_library_error(int), *c_library_signal(int), *c_library_name_error(int), *c_library_date(time_t);
const char *c_library_environment(const char *), *c_library_day(void), *c_library_locale(void);
struct tm *c_library_time(time_t);
struct lconv *c_library_numbers(void);
int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    c_library_print(2);
    c_library_print(5);
    puts(c_library_error(13));
    puts(c_library_error(4000));
    puts(c_library_signal(11));
    puts(c_library_name_error(EAI_NONAME));
    struct tm *tm = c_library_time(86400 * 365);
    printf("%d-%d-%d %s", tm->tm_year, tm->tm_mon, tm->tm_mday, asctime(tm));
    fputs(c_library_date(1000000000), stdout);
    puts(c_library_environment("ODD_WORD"));
    printf("%p\n", (void *)c_library_environment("ODD_WORD_THAT_IS_NOT_SET"));
    printf("%s %s\n", c_library_day(), c_library_locale());
    printf("%s|\n", c_library_numbers()->decimal_point);
    return 0;
}
#endif
