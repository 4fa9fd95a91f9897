//! What belongs to the process as a whole and not to one of its threads.

pub mod descriptors;
pub mod execute;
pub mod files;
pub mod image;
pub mod layout;
pub mod links;
pub mod listings;
pub mod namespaces;
pub mod processor_sleep;
pub mod processor_time;
pub mod timers;
