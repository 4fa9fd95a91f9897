// The vDSO as those read it that look functions up in it themselves: its dynamic entries, each function in
// both hash tables with its version, and what the functions say.
#include "check.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

static const char *strings;
static const Elf64_Sym *symbols;
static const uint32_t *hash, *gnu_hash;
static const Elf64_Verdef *definitions;
static const uint16_t *versions;
static uintptr_t load;

static uint32_t hash_of(const char *name) {
    uint32_t value = 0;
    for (; *name; name++) {
        value = (value << 4) + (unsigned char)*name;
        uint32_t high = value & 0xf0000000;
        value = (value ^ (high >> 24)) & ~high;
    }
    return value;
}

static uint32_t gnu_hash_of(const char *name) {
    uint32_t value = 5381;
    for (; *name; name++) value = value * 33 + (unsigned char)*name;
    return value;
}

static int by_hash(const char *name) {
    uint32_t index = hash[2 + hash_of(name) % hash[0]];
    for (; index != 0; index = hash[2 + hash[0] + index])
        if (strcmp(strings + symbols[index].st_name, name) == 0) return (int)index;
    return -1;
}

static int by_gnu_hash(const char *name) {
    uint32_t value = gnu_hash_of(name), buckets = gnu_hash[0], first = gnu_hash[1], words = gnu_hash[2];
    const uint64_t *filter = (const uint64_t *)(gnu_hash + 4);
    uint64_t word = filter[value / 64 % words];
    if (!(word >> value % 64 & 1) || !(word >> (value >> gnu_hash[3]) % 64 & 1)) return -1;
    const uint32_t *bucket = (const uint32_t *)(filter + words), *chain = bucket + buckets;
    for (uint32_t index = bucket[value % buckets]; index >= first; index++) {
        uint32_t there = chain[index - first];
        if ((there | 1) == (value | 1) && strcmp(strings + symbols[index].st_name, name) == 0) return (int)index;
        if (there & 1) break;
    }
    return -1;
}

static const char *version_of(int symbol) {
    for (const Elf64_Verdef *at = definitions;; at = (const void *)((const char *)at + at->vd_next)) {
        const Elf64_Verdaux *name = (const void *)((const char *)at + at->vd_aux);
        CHECK(at->vd_hash == hash_of(strings + name->vda_name), "the hash of %s", strings + name->vda_name);
        if (at->vd_ndx == (versions[symbol] & 0x7fff)) return strings + name->vda_name;
        CHECK(at->vd_next != 0, "no version %d", versions[symbol]);
    }
}

static void *look_up(const char *name) {
    int symbol = by_hash(name);
    CHECK(symbol > 0, "%s is not in the hash table", name);
    CHECK(gnu_hash == NULL || by_gnu_hash(name) == symbol, "%s is not in the other hash table", name);
    const Elf64_Sym *entry = &symbols[symbol];
    printf("%s: bind %d, type %d, version %s\n", name, ELF64_ST_BIND(entry->st_info), ELF64_ST_TYPE(entry->st_info),
           version_of(symbol));
    CHECK(entry->st_shndx != SHN_UNDEF, "%s is undefined", name);
    return (void *)(load + entry->st_value);
}

static void read_image(void) {
    const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)base;
    const Elf64_Phdr *programs = (const Elf64_Phdr *)(base + header->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    for (int index = 0; index < header->e_phnum; index++) {
        if (programs[index].p_type == PT_LOAD) load = (uintptr_t)base + programs[index].p_offset - programs[index].p_vaddr;
        if (programs[index].p_type == PT_DYNAMIC) dynamic = (const Elf64_Dyn *)(base + programs[index].p_offset);
    }
    CHECK(dynamic != NULL, "no dynamic segment");
    uint64_t soname = 0, flags = 0, count = 0;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        const void *at = (const void *)(load + dynamic->d_un.d_ptr);
        switch (dynamic->d_tag) {
        case DT_SONAME: soname = dynamic->d_un.d_val; break;
        case DT_HASH: hash = at; break;
        case DT_GNU_HASH: gnu_hash = at; break;
        case DT_STRTAB: strings = at; break;
        case DT_SYMTAB: symbols = at; break;
        case DT_VERDEF: definitions = at; break;
        case DT_VERDEFNUM: count = dynamic->d_un.d_val; break;
        case DT_VERSYM: versions = at; break;
        case DT_FLAGS: flags = dynamic->d_un.d_val; break;
        case DT_SYMENT: CHECK(dynamic->d_un.d_val == sizeof(Elf64_Sym), "the size of a symbol"); break;
        default: break;
        }
    }
    CHECK(hash && strings && symbols && definitions && versions, "a table is missing");
    printf("%s, flags %ld, %ld versions\n", strings + soname, (long)flags, (long)count);
}

int main(void) {
    read_image();
    static const char *const NAMES[] = {"clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu"};
    for (int index = 0; index < 5; index++) {
        char prefixed[64];
        snprintf(prefixed, sizeof prefixed, "__vdso_%s", NAMES[index]);
        void *weak = look_up(NAMES[index]), *global = look_up(prefixed);
        CHECK(weak == global, "two functions for %s", NAMES[index]);
    }
    int version = by_hash("LINUX_2.6");
    CHECK(version > 0 && symbols[version].st_shndx == SHN_ABS, "the version has no symbol");
    CHECK(by_hash("__vdso_nothing") == -1, "a function that is none");
    int (*clock_gettime_of)(clockid_t, struct timespec *) = look_up("clock_gettime");
    time_t (*time_of)(time_t *) = look_up("time");
    int (*getcpu_of)(unsigned *, unsigned *, void *) = look_up("getcpu");
    struct timespec now;
    CHECK(clock_gettime_of(CLOCK_REALTIME, &now) == 0 && labs(now.tv_sec - time(NULL)) < 5, "the time");
    CHECK(labs(time_of(NULL) - time(NULL)) < 5, "the time in seconds");
    unsigned processor = ~0U;
    CHECK(getcpu_of(&processor, NULL, NULL) == 0 && processor < 65536, "processor %u", processor);
    return finish();
}
