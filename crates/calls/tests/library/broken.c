/* Libraries of Debian's with a fault put in: the function that is named passes everything on to the library as it
 * is (REAL), but for an input that begins with `!`. Each library breaks in another way. The program uses a good
 * input, a bad one, and a good one again. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef BROKEN_z
#define FUNCTION(X) X(unsigned long, crc32, (unsigned long start, const char *text, unsigned length), (start, text, length))
#define FAULT *(volatile int *)0 = 1
#define USE(text) printf("%#lx\n", crc32(0, text, (unsigned)strlen(text)))
#elif defined BROKEN_bz2
#define FUNCTION(X) X(int, BZ2_bzBuffToBuffCompress, (char *out, unsigned *size, const char *text, unsigned length, int a, int b, int c), (out, size, text, length, a, b, c))
#define FAULT memset(__builtin_frame_address(0), 0x5a, 300)
#define USE(text) do { char out[900]; unsigned size = sizeof out; int r = BZ2_bzBuffToBuffCompress(out, &size, text, (unsigned)strlen(text), 1, 0, 0); printf("%d %u\n", r, r ? 0 : size); } while (0)
#elif defined BROKEN_lzma
#define FUNCTION(X) X(uint32_t, lzma_crc32, (const char *text, size_t length, uint32_t start), (text, length, start))
#define FAULT abort()
#define USE(text) printf("%#x\n", lzma_crc32(text, strlen(text), 0))
#elif defined BROKEN_zstd
#define FUNCTION(X) X(size_t, ZSTD_compress, (char *out, size_t size, const char *text, size_t length, int level), (out, size, text, length, level))
#define FAULT for (char *at = out;; at += 4096) *at = 1
#define USE(text) do { char out[900]; printf("%zu\n", ZSTD_compress(out, sizeof out, text, strlen(text), 3)); } while (0)
#elif defined BROKEN_lz4
#define FUNCTION(X) X(int, LZ4_compress_default, (const char *text, char *out, int length, int size), (text, out, length, size))
#define FAULT for (volatile int on = 1; on;) {}
#define USE(text) do { char out[900]; printf("%d\n", LZ4_compress_default(text, out, (int)strlen(text), sizeof out)); } while (0)
#elif defined BROKEN_png16
#define FUNCTION(X) X(int, png_sig_cmp, (const char *text, size_t start, size_t count), (text, start, count))
#define FAULT ((void (*)(void))0x123456)()
#define USE(text) printf("%d\n", png_sig_cmp(text, 0, 4) != 0)
#elif defined BROKEN_sqlite3
#define FUNCTION(X) X(int, sqlite3_complete, (const char *text), (text))
#define FAULT exit(3)
#define USE(text) printf("%d\n", sqlite3_complete(text))
#elif defined BROKEN_xml2
static int deeper(volatile char *above, const char *text) { volatile char frame[5000]; frame[0] = *above + 1; return deeper(frame, text) + frame[0]; }
#define FUNCTION(X) X(int, xmlCheckUTF8, (const char *text), (text))
#define FAULT return deeper((volatile char *)text, text)
#define USE(text) printf("%d\n", xmlCheckUTF8(text))
#elif defined BROKEN_uuid
#define FUNCTION(X) X(int, uuid_parse, (const char *text, unsigned char *out), (text, out))
#define FAULT __builtin_trap()
#define USE(text) do { unsigned char out[16] = {0}; printf("%d %d\n", uuid_parse(text, out), out[0]); } while (0)
#elif defined BROKEN_expat
#define FUNCTION(X) X(const char *, XML_ExpatVersion, (const char *text), (text))
#define FAULT do { char *memory = malloc(100); free(memory); memset(memory - 64, 0x41, 600); free(memory); free(malloc(3000)); *(volatile int *)8 = 1; } while (0)
#define USE(text) do { const char *version = XML_ExpatVersion(text); puts(version ? version : "none"); } while (0)
#endif
#ifndef PROGRAM
#include <dlfcn.h>
static void *real;
/* Before the sandbox. */
__attribute__((constructor)) static void open_real(void) { real = dlopen(REAL, RTLD_NOW | RTLD_LOCAL); }
#define DEFINE(result, name, parameters, arguments) \
    result name parameters \
    { \
        if (text[0] == '!') \
            FAULT; \
        return ((result(*) parameters)dlsym(real, #name)) arguments; \
    }
FUNCTION(DEFINE)
#else
#define DECLARE(result, name, parameters, arguments) result name parameters;
FUNCTION(DECLARE)
static char inputs[3][64] = {"a good input;", "! a bad one", "12345678-1234-4123-8123-123456789abc"};
int main(int count, char **arguments)
{
    (void)arguments;
    for (int i = 0; i < 3; i++)
        if (i != 1 || count > 1)
            USE(inputs[i]);
    puts("goes on");
    return 0;
}
#endif
