/* Guests that mean harm, one for each behaviour: what sponsors and limits are for. Any message sets one off. */
#include "../tally/banyan.h"

BANYAN_GUEST

static uint8_t space[48 << 10];

BANYAN_EXPORT(banyan_receive) void banyan_receive(uint32_t behaviour, uint32_t bytes, uint32_t addresses) {
    switch (behaviour) {
    case 0: /* endless loop */
        for (volatile uint32_t turn = 0;; turn++)
            ;
    case 1: /* message bomb: two for one */
        send(THIS_ACTOR, space, 1000, 0, 0);
        send(THIS_ACTOR, space, 1000, 0, 0);
        break;
    case 2: { /* fork bomb: two for one */
        send(create(2, 0, 0, 0, 0), 0, 0, 0, 0);
        send(THIS_ACTOR, 0, 0, 0, 0);
        break;
    }
    case 3: /* allocation bomb */
        while (__builtin_wasm_memory_grow(0, 1) != (unsigned long)-1)
            ;
        send(THIS_ACTOR, 0, 0, 0, 0);
        break;
    case 4: /* bulk copy */
        for (;;) {
            __builtin_memmove(space, space + 8, sizeof space - 8);
            __asm__ volatile("" ::: "memory");
        }
    default: /* unmarshal bomb: a message that says of itself that it is long, believed again and again */
        send(THIS_ACTOR, space, bytes, 0, 0);
        for (uint32_t turn = 0; turn < 100; turn++)
            message_read(space, 0, bytes);
        message_read(space, 0, bytes + 1);
    }
}
