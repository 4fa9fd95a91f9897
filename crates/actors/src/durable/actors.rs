//! Actors out of their slots and back into them: for durable configurations.

use crate::configuration::event::Event;
use crate::configuration::running::{RunningConfiguration, Slot};
use crate::containment::{Foreign, contain};
use crate::model::address::Local;
use crate::model::behaviour::Behaviour;
use crate::model::saved::Saved;

impl RunningConfiguration {
    /// Saves the behaviour of a slot; `Err` if it cannot be kept, `Ok(None)` if there is none.
    pub(crate) fn save(&mut self, slot: u32) -> Result<Option<(u32, Saved)>, Local> {
        let local = self.local_of(slot);
        match self.slots[slot as usize].behaviour.as_mut() {
            None => Ok(None),
            Some(behaviour) => {
                let saved = contain(|| behaviour.save()).ok().flatten();
                Ok(Some((local.generation, saved.ok_or(local)?)))
            }
        }
    }

    /// Puts an actor back where it was. Slots between are free until they are put back, or for good.
    pub(crate) fn restore(&mut self, slot: u32, generation: u32, behaviour: Option<Box<dyn Behaviour>>) {
        while self.slots.len() <= slot as usize {
            self.free.push(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
            self.slots.push(Slot {
                generation: 0,
                meters_itself: false,
                behaviour: Foreign::default(),
                extras: None,
            });
        }
        let entry = &mut self.slots[slot as usize];
        entry.generation = generation;
        // They are put back in their order: it is the last one.
        let is_last = self.free.last() == Some(&slot);
        if let Some(behaviour) = behaviour {
            entry.put(behaviour);
        } else if generation == Event::GENERATION {
            // It may have had its last actor.
            self.retired += 1;
        } else {
            return;
        }
        if is_last {
            self.free.pop();
        }
    }

    /// Generations of free slots are part of what is kept: an old address must stay dead.
    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.slots[slot as usize].generation
    }
}
