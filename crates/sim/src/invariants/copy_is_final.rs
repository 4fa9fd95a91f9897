//! A page is read out only while no thread can write it; otherwise a write after the copy would be lost.

use std::collections::BTreeMap;

use banyan_core::ids::{Access, PageNumber, Run};

use super::Violation;
use crate::page::{Slot, Value};

pub(crate) fn read(
    number: usize,
    slots: &BTreeMap<PageNumber, Slot>,
    run: Run,
) -> Result<Vec<(PageNumber, Value)>, Violation> {
    let page = |page: PageNumber| {
        let slot = slots.get(&page);
        if slot.is_some_and(|slot| slot.mapped == Some(Access::Write)) {
            return Err(Violation {
                invariant: "copy_is_final",
                found: format!("node {number} copies {page:?} while its threads can write it"),
            });
        }
        Ok((page, slot.map_or(0, |slot| slot.value)))
    };
    run.pages().map(page).collect()
}
