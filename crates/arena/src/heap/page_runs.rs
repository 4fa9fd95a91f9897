//! Runs of numbers, each since a capture: of pages that were given back, or of granules that may be. As many
//! entries as there were frees, however many pages they had.

use std::collections::BTreeMap;
use std::ops::Range;

/// Page numbers of a heap; the end of the largest does not fit the 32 bits of a page's number.
pub(crate) type Pages = Range<u64>;

/// Disjoint runs of pages with the capture since which they are in it.
#[derive(Debug, Default)]
pub(crate) struct PageRuns {
    /// By the first page: the end, and the capture.
    runs: BTreeMap<u64, (u64, u64)>,
}

impl PageRuns {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds a run; what of it was there already is there since this capture.
    pub(crate) fn insert(&mut self, pages: Pages, capture: u64) {
        self.remove(pages.clone());
        if !pages.is_empty() {
            self.runs.insert(pages.start, (pages.end, capture));
        }
    }

    /// Takes a run out, as far as it is there.
    pub(crate) fn remove(&mut self, pages: Pages) {
        let before = self.runs.range(..pages.start).next_back().map(|(start, run)| (*start, *run));
        if let Some((start, (end, since))) = before.filter(|(_, (end, _))| *end > pages.start) {
            self.runs.insert(start, (pages.start, since));
            if end > pages.end {
                self.runs.insert(pages.end, (end, since));
            }
        }
        while let Some((start, (end, since))) =
            self.runs.range(pages.clone()).next().map(|(start, run)| (*start, *run))
        {
            self.runs.remove(&start);
            if end > pages.end {
                self.runs.insert(pages.end, (end, since));
            }
        }
    }

    pub(crate) fn contains(&self, page: u64) -> bool {
        self.runs.range(..=page).next_back().is_some_and(|(_, (end, _))| page < *end)
    }

    /// Keeps the runs that are there since a capture for which this is so.
    pub(crate) fn retain_since(&mut self, keep: impl Fn(u64) -> bool) {
        self.runs.retain(|_, (_, since)| keep(*since));
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    /// The runs, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Pages> + '_ {
        self.runs.iter().map(|(start, (end, _))| *start..*end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_of_a_plain_map() {
        let mut seed = 9_u64;
        let mut below = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % bound
        };
        for _ in 0..200 {
            let (mut runs, mut plain) = (PageRuns::default(), BTreeMap::new());
            for capture in 0..20 {
                let start = below(60);
                let pages = start..start + below(20);
                if below(4) == 0 {
                    runs.remove(pages.clone());
                    plain.retain(|page, _| !pages.contains(page));
                } else {
                    runs.insert(pages.clone(), capture);
                    plain.extend(pages.map(|page| (page, capture)));
                }
                if below(8) == 0 {
                    let bound = below(20);
                    runs.retain_since(|since| since > bound);
                    plain.retain(|_, since| *since > bound);
                }
                assert!((0..90).all(|page| runs.contains(page) == plain.contains_key(&page)));
                assert_eq!(
                    runs.iter().flatten().collect::<Vec<_>>(),
                    plain.keys().copied().collect::<Vec<_>>()
                );
            }
        }
    }
}
