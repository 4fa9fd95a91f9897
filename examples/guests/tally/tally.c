/* A guest in C, without a library: it adds up the numbers that it is sent, and answers each with the sum.
 *
 * A message is a little-endian number of 64 bits, with the address of the actor that wants the sum. The start, if there are
 * eight bytes of it, is what to begin with. */
#include "banyan.h"

BANYAN_GUEST

static uint64_t sum;

BANYAN_EXPORT(banyan_start) void banyan_start(uint32_t behaviour, uint32_t bytes, uint32_t addresses) {
    if (bytes == sizeof sum)
        message_read(&sum, 0, sizeof sum);
}

BANYAN_EXPORT(banyan_receive) void banyan_receive(uint32_t behaviour, uint32_t bytes, uint32_t addresses) {
    static const char words[] = "a message is a number of 64 bits and one address";
    uint64_t number;
    if (bytes != sizeof number || addresses != 1)
        fail(words, sizeof words - 1);
    message_read(&number, 0, sizeof number);
    sum += number;
    handle whom = message_address(0);
    send(whom, &sum, sizeof sum, 0, 0);
    release(whom);
}
