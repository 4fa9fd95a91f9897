//! Where the functions of a loaded library begin: the table that the unwinder searches, which compilers write
//! for each function, static ones too.
//!
//! Not for names: a stripped library has none of its own functions.

use std::ops::Range;

/// Encodings of exception frames (Linux Standard Base, "DWARF Extensions"): signed words of four bytes, from
/// where they lie or from the table's start; and an unsigned count.
const FROM_HERE: u8 = 0x1b;
const FROM_TABLE: u8 = 0x3b;
const COUNT: u8 = 0x03;

/// Offsets in `code` at which functions begin, ascending; none if the library has no table, or another kind.
pub(super) fn starts(code: &Range<u64>) -> Vec<u32> {
    struct Search<'a> {
        code: &'a Range<u64>,
        table: Option<(u64, u64)>,
    }
    extern "C" fn one(information: *mut libc::dl_phdr_info, _: usize, search: *mut libc::c_void) -> i32 {
        // SAFETY: the loader passes a description, whose headers it has, and our own struct.
        let (information, search) = unsafe { (&*information, &mut *search.cast::<Search<'_>>()) };
        // SAFETY: as above.
        let headers =
            unsafe { std::slice::from_raw_parts(information.dlpi_phdr, information.dlpi_phnum.into()) };
        let place = |header: &libc::Elf64_Phdr| information.dlpi_addr.wrapping_add(header.p_vaddr);
        let is_ours = |header: &libc::Elf64_Phdr| {
            header.p_type == libc::PT_LOAD
                && (place(header)..place(header).saturating_add(header.p_memsz)).contains(&search.code.start)
        };
        let table = headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME);
        if let Some(table) = table.filter(|_| headers.iter().any(is_ours)) {
            search.table = Some((place(table), table.p_memsz));
            return 1;
        }
        0
    }
    let mut search = Search { code, table: None };
    // SAFETY: the function has the signature asked for, and gets our struct back.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut search).cast()) };
    let Some((address, length)) = search.table else { return Vec::new() };
    // SAFETY: the loader has mapped the segment, and this process unloads nothing.
    let table = unsafe { std::slice::from_raw_parts(address as *const u8, length as usize) };
    read(table, address, code)
}

/// The starts that `table`, which lies at `address`, has in `code`.
fn read(table: &[u8], address: u64, code: &Range<u64>) -> Vec<u32> {
    const HEAD: usize = 12;
    const ROW: usize = 8;
    let (Some([1, FROM_HERE, COUNT, FROM_TABLE]), Some(rows)) = (table.first_chunk::<4>(), table.get(HEAD..))
    else {
        return Vec::new();
    };
    let start = |row: &[u8]| {
        let offset = i32::from_le_bytes([row[0], row[1], row[2], row[3]]);
        let start = address.wrapping_add_signed(offset.into());
        code.contains(&start).then(|| (start - code.start) as u32)
    };
    let count = u32::from_le_bytes([table[8], table[9], table[10], table[11]]) as usize;
    let mut starts: Vec<u32> = rows.chunks_exact(ROW).take(count).filter_map(start).collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_the_linker_is_read_and_another_is_none() {
        let mut table = vec![1, FROM_HERE, COUNT, FROM_TABLE, 0, 0, 0, 0, 2, 0, 0, 0];
        for start in [-0x100_i32, -0xf1, 0x10] {
            table.extend(start.to_le_bytes());
            table.extend([0; 4]);
        }
        let code = 0x1000..0x2000;
        assert_eq!(read(&table, 0x1200, &code), [0x100, 0x10f]);
        table[2] = 0;
        assert!(read(&table, 0x1200, &code).is_empty());
        assert!(read(&table[..9], 0x1200, &code).is_empty());
    }
}
