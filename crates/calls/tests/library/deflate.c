/* Compresses and restores a buffer in one call each, and by a stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
int main(int count, char **texts)
{
    size_t size = atol(texts[1]);
    unsigned char *data = malloc(size), *back = malloc(size);
    for (size_t i = 0; i < size; i++) data[i] = (unsigned char)((i * 2654435761u >> 24) & (i >> 12));
    uLong room = compressBound(size), used = room, length = size;
    unsigned char *packed = malloc(room);
    int result = compress2(packed, &used, data, size, 1);
    printf("%d %lu %lx\n", result, used, crc32(0, packed, used));
    result = uncompress(back, &length, packed, used);
    printf("%d %lu %d\n", result, length, memcmp(data, back, size));
    z_stream stream = {0};
    deflateInit(&stream, 6);
    stream.next_in = data;
    stream.avail_in = size / 4;
    unsigned long total = 0, check = 1;
    do {
        stream.next_out = packed;
        stream.avail_out = 65536;
        result = deflate(&stream, Z_FINISH);
        total += 65536 - stream.avail_out;
        check = adler32(check, packed, 65536 - stream.avail_out);
    } while (result == Z_OK);
    printf("%d %lu %lx %lu\n", result, total, check, stream.total_in);
    return deflateEnd(&stream);
}
