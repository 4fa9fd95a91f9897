/* Memory of the program that a library reads and writes, wherever that lies and however it is reached. */
#include "torture.h"
#include <string.h>
#ifndef PROGRAM
#include <stdlib.h>
#include <sys/uio.h>
unsigned b_sum(const void *bytes, size_t count)
{
    unsigned sum = 0;
    for (size_t i = 0; i < count; i++)
        sum = sum * 31 + ((const unsigned char *)bytes)[i];
    return sum;
}
void b_fill(void *bytes, size_t count, int with) { memset(bytes, with, count); }
void b_invert(unsigned char *bytes, size_t count) { while (count--) bytes[count] ^= 0xff; }
void b_upper(char *text) { for (; *text; text++) if (*text >= 'a' && *text <= 'z') *text -= 32; }
void b_move(char *to, const char *from, size_t count) { memmove(to, from, count); }
int b_capacity(char *out, size_t *length, const char *in) { size_t n = strlen(in); if (n > *length) { *length = n; return -1; } memcpy(out, in, n); *length = n; return 0; }
long b_list(const struct t_link *link) { long sum = 0; for (; link; link = link->next) sum = sum * 3 + link->value; return sum; }
void b_list_change(struct t_link *link) { for (; link; link = link->next) link->value = -link->value; }
struct t_link *b_list_reverse(struct t_link *link) { struct t_link *back = 0; while (link) { struct t_link *next = link->next; link->next = back; back = link; link = next; } return back; }
struct t_link *b_list_unlink(struct t_link **first, long value) { for (; *first; first = &(*first)->next) if ((*first)->value == value) { struct t_link *found = *first; *first = found->next; return found; } return 0; }
int b_strings(const char *const *texts) { int n = 0; for (; *texts; texts++) n = n * 7 + (int)strlen(*texts); return n; }
void b_strings_swap(char **texts, int count) { char *first = texts[0]; memmove(texts, texts + 1, (count - 1) * sizeof *texts); texts[count - 1] = first; }
char *b_find(const char *text, int byte) { return strchr(text, byte); }
long b_matrix(int rows, int columns, long (*matrix)[columns]) { long sum = 0; for (int i = 0; i < rows; i++) for (int j = 0; j < columns; j++) sum += matrix[i][j] * (i + 1) * (j + 2); return sum; }
size_t b_gather(const struct iovec *parts, int count, char *out) { size_t at = 0; for (int i = 0; i < count; i++) { memcpy(out + at, parts[i].iov_base, parts[i].iov_len); at += parts[i].iov_len; } return at; }
int b_may_be_null(const char *a, int *b) { if (b) *b = 9; return a ? (int)strlen(a) : -1; }
long b_unaligned(const void *at) { long value; memcpy(&value, at, 8); return value * 3; }
int b_bit(unsigned char *bits, int number) { bits[number / 8] |= 1 << number % 8; return bits[number / 8]; }
static const int *kept; static size_t kept_count;
void b_keep(const int *values, size_t count) { kept = values; kept_count = count; }
long b_kept(void) { long sum = 0; for (size_t i = 0; i < kept_count; i++) sum += kept[i]; return sum; }
static int *kept_out;
void b_keep_out(int *out) { kept_out = out; }
void b_write_kept(int value) { *kept_out = value; }
int b_wide(const wchar_t *text, wchar_t *out) { int n = 0; for (; text[n]; n++) out[n] = text[n] + 1; out[n] = 0; return n; }
void b_sparse(char *bytes, size_t count) { for (size_t at = 0; at < count; at += 40960) bytes[at] = (char)(at / 40960 + 1); }
int b_two(const int *a, int *b) { int before = *a; *b += 7; return before * 100 + *a; }
void b_swap_deep(struct t_deep *deep) { int v = ***deep->values; ***deep->values = deep->number; deep->number = v; }
void b_tokens(char *text, char **rest) { *rest = text + strcspn(text, ","); if (**rest) *(*rest)++ = 0; }
int b_compare(const void *a, const void *b, size_t count) { int c = memcmp(a, b, count); return (c > 0) - (c < 0); }
long b_number(const char *text, char **end) { return strtol(text, end, 0); }
void b_atomic(long *counter) { __atomic_fetch_add(counter, 5, __ATOMIC_SEQ_CST); }
size_t b_length(const char *text, size_t most) { return strnlen(text, most); }
#else
#include "rows.h"
#include <sys/mman.h>
#include <sys/uio.h>
#include <wchar.h>
static char area[70000];
static const char constant[5000] = "constant text of the program";
static char *pages(size_t count, int flags) { return mmap(0, count, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0); }
static char *at_the_end(const char *text)
{
    char *two = pages(8192, MAP_PRIVATE);
    munmap(two + 4096, 4096);
    return strcpy(two + 4096 - strlen(text) - 1, text);
}
static struct t_link three = {3, 0}, two = {2, &three}, one = {1, &two};
static int values[9000];
#define ROWS(X) \
    X(b_sum, int local[3] = {1, 2, 3}; char *shared = pages(10000, MAP_SHARED); shared[9999] = 5; say("%u %u %u %u", b_sum(local, sizeof local), b_sum(constant, sizeof constant), b_sum(shared, 10000), b_sum("", 0))) \
    X(b_fill, char local[100]; b_fill(local, 100, 7); b_fill(area + 1, 69000, 9); say("%x %x", sum_of(local, 100), sum_of(area, sizeof area))) \
    X(b_invert, char *shared = pages(1 << 20, MAP_SHARED); b_invert((void *)shared, 1 << 20); say("%x", sum_of(shared, 1 << 20))) \
    X(b_upper, char local[] = "Lower And upper"; b_upper(local); char *last = at_the_end("at the very end"); b_upper(last); say("%s %s", local, last)) \
    X(b_move, for (int i = 0; i < 9000; i++) area[i] = (char)i; b_move(area + 3, area, 8900); say("%x", sum_of(area, 9000))) \
    X(b_capacity, char out[8]; size_t n = 8; int a = b_capacity(out, &n, "too long for it"); size_t m = 8; int b = b_capacity(out, &m, "fits"); say("%d %zu %d %zu %.4s", a, n, b, m, out)) \
    X(b_list, say("%ld", b_list(&one))) \
    X(b_list_change, b_list_change(&one); say("%ld %ld", one.value, three.value)) \
    X(b_list_reverse, struct t_link *r = b_list_reverse(&one); say("%d %ld", r == &three, b_list(r)); b_list_reverse(r)) \
    X(b_list_unlink, struct t_link *first = &one; struct t_link *found = b_list_unlink(&first, two.value); say("%d %ld", found == &two, b_list(first)); one.next = &two) \
    X(b_strings, const char *texts[] = {"one", "three", "", "fifteen", 0}; say("%d", b_strings(texts))) \
    X(b_strings_swap, char *texts[] = {"a", "b", "c"}; b_strings_swap(texts, 3); say("%s%s%s", texts[0], texts[1], texts[2])) \
    X(b_find, char *found = b_find(constant, 'x'); say("%d %s", found == constant + 11, found)) \
    X(b_matrix, long m[2][3] = {{1, 2, 3}, {4, 5, 6}}; say("%ld", b_matrix(2, 3, m))) \
    X(b_gather, char out[40]; struct iovec parts[] = {{"one ", 4}, {(void *)constant, 8}, {" two", 4}}; size_t n = b_gather(parts, 3, out); say("%.*s", (int)n, out)) \
    X(b_may_be_null, int b = 0; int r = b_may_be_null(0, 0); say("%d %d %d", r, b_may_be_null("abc", &b), b)) \
    X(b_unaligned, memcpy(area + 4093, "\1\2\3\4\5\6\7", 8); say("%ld", b_unaligned(area + 4093))) \
    X(b_bit, unsigned char bits[4] = {0}; b_bit(bits, 9); say("%d %d", b_bit(bits, 15), bits[1])) \
    X(b_keep, for (int i = 0; i < 9000; i++) values[i] = i; b_keep(values, 9000); say("%ld", b_kept())) \
    X(b_kept, values[8999] = -1; say("%ld", b_kept())) \
    X(b_keep_out, b_keep_out(values); b_write_kept(77); say("%d", values[0])) \
    X(b_write_kept, b_write_kept(78); say("%d", values[0])) \
    X(b_wide, wchar_t out[20]; int n = b_wide(L"w\x20ac\x10000", out); say("%d %x %x", n, (unsigned)out[1], (unsigned)out[2])) \
    X(b_sparse, char *shared = pages(8 << 20, MAP_PRIVATE | MAP_NORESERVE); b_sparse(shared, 8 << 20); say("%x", sum_of(shared, 8 << 20)); munmap(shared, 8 << 20)) \
    X(b_two, int a = 3; say("%d %d", b_two(&a, &a), a)) \
    X(b_swap_deep, int v = 1; int *p = &v; int **q = &p; struct t_deep deep = {&q, 2}; b_swap_deep(&deep); say("%d %d", v, deep.number)) \
    X(b_tokens, char local[] = "first,second"; char *rest; b_tokens(local, &rest); say("%s %s %d", local, rest, rest == local + 6)) \
    X(b_compare, say("%d %d", b_compare("abc", "abd", 3), b_compare("abc", "abd", 2))) \
    X(b_number, char *end; const char *text = "0x1fz"; long n = b_number(text, &end); say("%ld %d", n, end == text + 4)) \
    X(b_atomic, static long counter = 3; b_atomic(&counter); say("%ld", counter)) \
    X(b_length, char *last = at_the_end("end"); say("%zu %zu", b_length(last, 2), b_length(last, 100)))
SUBJECT(buffers)
#endif
