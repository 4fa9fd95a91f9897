//! A word for each place of the heap where an indirect noun of one jam lies.

use super::super::FOREIGN;
use super::super::huge::HugeVec;
use super::super::prefetch::prefetch;

/// A word for each indirect noun, by the place where it lies: a small array for each page of the heap that
/// the noun touches. Nouns that were made together lie together, so a look here rarely misses the cache, and
/// a noun that is shared is known without being touched.
#[derive(Default)]
pub(super) struct Places {
    base: usize,
    /// Pages of the heap.
    pages: usize,
    /// For each page of the heap, its array, counted from 1: in groups, of which those are there in which a
    /// noun lies, and of these the kernel gives what is written. So a wide heap costs no more than its nouns.
    groups: Vec<Vec<u32>>,
    /// For each 16 bytes of a page, its word; 0 is none.
    arrays: HugeVec<[u64; UNITS]>,
    /// Pages that have one.
    touched: Vec<u32>,
}

const PAGE: usize = 4096;
const UNITS: usize = PAGE / 16;
/// Pages of a group: 64 GiB of heap.
const GROUP: usize = 1 << 24;

impl Places {
    /// Forgets everything, for a heap that lies there.
    pub(super) fn clear(&mut self, base: usize, end: usize) {
        for page in self.touched.drain(..) {
            self.groups[page as usize / GROUP][page as usize % GROUP] = 0;
        }
        self.base = base;
        self.pages = (end - base).div_ceil(PAGE);
        self.arrays.clear();
    }

    /// Page and unit of an address.
    #[inline]
    fn place(&self, address: u64) -> (usize, usize) {
        let offset = (address as usize).wrapping_sub(self.base);
        (offset / PAGE, offset % PAGE / 16)
    }

    /// The word of the noun at an address.
    #[inline]
    pub(super) fn word(&mut self, address: u64) -> &mut u64 {
        let (page, unit) = self.place(address);
        assert!(page < self.pages, "{FOREIGN}");
        let Self { pages, groups, arrays, touched, .. } = self;
        let array = match groups.get_mut(page / GROUP).and_then(|group| group.get_mut(page % GROUP)) {
            Some(array) => array,
            None => Self::make_group(groups, *pages, page),
        };
        if *array == 0 {
            arrays.push([0; UNITS]);
            touched.push(page as u32);
            *array = arrays.len() as u32;
        }
        &mut arrays[*array as usize - 1][unit]
    }

    /// Makes the group of a page, or a longer one, since the heap has grown; gives the page's place in it.
    #[cold]
    fn make_group(groups: &mut Vec<Vec<u32>>, pages: usize, page: usize) -> &mut u32 {
        let number = page / GROUP;
        if groups.len() <= number {
            groups.resize(number + 1, Vec::new());
        }
        let mut longer = vec![0; pages.next_power_of_two().min(GROUP)];
        let group = &mut groups[number];
        longer[..group.len()].copy_from_slice(group);
        *group = longer;
        &mut group[page % GROUP]
    }

    /// As [`Places::word`], if a noun of the same page has one.
    #[inline]
    fn kept(&self, address: u64) -> Option<&u64> {
        let (page, unit) = self.place(address);
        let array = *self.groups.get(page / GROUP)?.get(page % GROUP)?;
        Some(&self.arrays[(array as usize).checked_sub(1)?][unit])
    }

    /// One less than the word of a noun that has one.
    #[inline]
    pub(super) fn known(&self, address: u64) -> Option<u64> {
        self.kept(address)?.checked_sub(1)
    }

    pub(super) fn bytes(&self) -> usize {
        let written = |group: &Vec<u32>| (group.len() * 4).min(self.touched.capacity() * PAGE);
        self.arrays.capacity() * size_of::<[u64; UNITS]>() + self.groups.iter().map(written).sum::<usize>()
    }

    /// Asks for what [`Places::word`] will look at.
    #[inline]
    pub(super) fn prefetch(&self, address: u64) {
        if let Some(word) = self.kept(address) {
            prefetch(std::ptr::from_ref(word));
        }
    }
}
