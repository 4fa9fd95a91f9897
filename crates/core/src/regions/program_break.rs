//! `brk`.

use super::{Backing, Effect, Limits, Outcome, READ_WRITE, Range, Region, Regions};
use banyan_wire::address_space::{may_map, page_up};

impl Regions {
    /// Moves the break to `wanted`; answers with where it is then, as the kernel does, and with no error.
    pub(super) fn move_break(&mut self, arguments: [u64; 6], limits: &Limits) -> Outcome {
        let [wanted, ..] = arguments;
        let mut effect = Effect::new(self.break_end);
        let (Some(new), Some(old)) = (page_up(wanted), page_up(self.break_end)) else { return Ok(effect) };
        if wanted < self.break_start {
            return Ok(effect);
        }
        if new > old {
            let fits = may_map(old, new - old)
                && !self.map.overlaps(old, new)
                && new - self.break_start <= self.memory_total
                && self.check_limits(new - old, READ_WRITE, limits).is_ok();
            if !fits {
                return Ok(effect);
            }
            effect.create(Range { start: old, length: new - old }, READ_WRITE);
            self.map.join(Region {
                start: old,
                end: new,
                protection: READ_WRITE,
                backing: Backing::Anonymous,
            });
        } else if new < old {
            self.remove(&mut effect, Range { start: new, length: old - new });
        }
        self.break_end = wanted;
        effect.result = wanted as i64;
        Ok(effect)
    }
}
