/* The interface of a guest in C: docs/reference/guest-abi.md, as declarations. */
#ifndef BANYAN_H
#define BANYAN_H

#include <stdint.h>

#define BANYAN_IMPORT(name) __attribute__((import_module("banyan"), import_name(#name)))
#define BANYAN_EXPORT(name) __attribute__((export_name(#name)))

/* A number in the host's table for this actor. */
typedef uint32_t handle;

/* The actor itself. */
#define THIS_ACTOR ((handle)0)

BANYAN_IMPORT(message_read) void message_read(void *to, uint32_t offset, uint32_t length);
BANYAN_IMPORT(message_address) handle message_address(uint32_t number);
BANYAN_IMPORT(send) void send(handle to, const void *bytes, uint32_t length, const handle *handles, uint32_t count);
BANYAN_IMPORT(create) handle create(uint32_t behaviour, const void *bytes, uint32_t length, const handle *handles,
                                    uint32_t count);
BANYAN_IMPORT(become) void become(uint32_t behaviour);
BANYAN_IMPORT(release) void release(handle handle);
BANYAN_IMPORT(same) uint32_t same(handle one, handle other);
BANYAN_IMPORT(fail) _Noreturn void fail(const char *words, uint32_t length);
BANYAN_IMPORT(log) void log_line(uint32_t level, const char *line, uint32_t length);
BANYAN_IMPORT(time) uint64_t event_time(void);

/* Once in a module: the version of the interface that it speaks. */
#define BANYAN_GUEST BANYAN_EXPORT(banyan_abi_1) void banyan_abi_1(void) {}

#endif
