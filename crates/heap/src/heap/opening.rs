//! Making heaps, attaching to them, and taking their names away.

use std::io;
use std::path::Path;

use super::Heap;
use crate::attachment::{AttachError, Attachment};
use crate::directory::{self, Directory, Found};
use crate::error::OpenError;
use crate::layout::{GRANULE, GRANULES_MAX, Geometry, Header};
use crate::options::{DEFAULT_SIZE, Existing, Interest, Lease, Options};
use crate::sys::registry;

/// How often a heap is looked for that is removed and made by others meanwhile.
const OPEN_ATTEMPTS: usize = 100;

impl Heap {
    /// Opens the heap `name`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(name: &str, options: &Options) -> Result<Self, OpenError> {
        if !directory::is_name(name) {
            return Err(OpenError::BadName(name.to_owned()));
        }
        let directory = Directory::open(options.directory.as_deref())?;
        for _ in 0..OPEN_ATTEMPTS {
            match directory.find(name)? {
                Some(_) if options.existing == Existing::Create => {
                    return Err(OpenError::Exists { name: name.to_owned() });
                }
                Some(found) => {
                    check(name, options, &found.header)?;
                    if let Some(heap) = attach(name, found, options.interest)? {
                        return Ok(heap);
                    }
                }
                None if options.existing == Existing::Attach => {
                    return Err(OpenError::Missing { name: name.to_owned(), directory: directory.path });
                }
                None => {
                    let was_made = create(&directory, name, options)?;
                    if !was_made && options.existing == Existing::Create {
                        return Err(OpenError::Exists { name: name.to_owned() });
                    }
                    if was_made
                        && let Some(found) = directory.find(name)?
                        && let Some(heap) = attach(name, found, options.interest)?
                    {
                        return Ok(heap);
                    }
                }
            }
        }
        Err(OpenError::Busy(directory.path))
    }

    /// Takes the name of a heap away. Those who are attached keep it until they close it; the next who opens
    /// the name makes another heap. `false` if there is none.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn unlink(name: &str, directory: Option<&Path>) -> Result<bool, OpenError> {
        if !directory::is_name(name) {
            return Err(OpenError::BadName(name.to_owned()));
        }
        Directory::open(directory)?.unlink(name)
    }

    /// Names of the heaps of a directory, after those whose lease is over were removed.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn list(directory: Option<&Path>) -> Result<Vec<String>, OpenError> {
        Directory::open(directory)?.names()
    }
}

fn check(name: &str, options: &Options, header: &Header) -> Result<(), OpenError> {
    let has = header.geometry.data_bytes() as u64;
    if let Some(wanted) = options.size
        && wanted.next_multiple_of(GRANULE as u64) != has
    {
        return Err(OpenError::WrongSize { name: name.to_owned(), wanted, has });
    }
    if let Some(model) = options.model
        && model != header.model
    {
        let (wanted, has) = (model.word(), header.model.word());
        return Err(OpenError::WrongModel { name: name.to_owned(), wanted, has });
    }
    Ok(())
}

fn create(directory: &Directory, name: &str, options: &Options) -> Result<bool, OpenError> {
    let size = options.size.unwrap_or(DEFAULT_SIZE);
    let granules = usize::try_from(size.div_ceil(GRANULE as u64)).unwrap_or(usize::MAX);
    if granules == 0 || granules > GRANULES_MAX {
        return Err(OpenError::BadSize(size));
    }
    let geometry = Geometry { granules };
    let address = options.address.unwrap_or(0);
    if options.address.is_some() && !directory::is_address(address, geometry.file_bytes() as u64) {
        return Err(OpenError::BadAddress(address));
    }
    let lease_ns = match options.lease {
        Lease::UntilUnlinked => u64::MAX,
        Lease::Unused(time) => u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1),
    };
    let model = options.model.unwrap_or_default();
    let header = Header { base: 0, geometry, model, room: options.room, lease_ns, unused_since_ns: 0 };
    directory.create(name, geometry, address, options.mode & 0o777, header)
}

/// `None` if the file has lost its name meanwhile.
fn attach(name: &str, found: Found, interest: Interest) -> Result<Option<Heap>, OpenError> {
    let system = |source: io::Error| OpenError::System { doing: "attaching to", path: name.into(), source };
    let identity = found.identity().map_err(system)?;
    let (locked, known) = registry::lock_and_find(identity).map_err(system)?;
    let attachment = match known {
        Some(known) => known,
        None => {
            let made = Attachment::make(&locked, name, found.file.into(), identity, found.header, interest);
            made.map_err(|error| attach_error(name, error))?
        }
    };
    // An attachment that is dropped takes the lock.
    drop(locked);
    let has_name = attachment.has_name().map_err(system)?;
    Ok(has_name.then_some(Heap { attachment }))
}

fn attach_error(name: &str, error: AttachError) -> OpenError {
    let name = name.to_owned();
    match error {
        AttachError::AddressTaken(address) => OpenError::AddressTaken {
            name,
            address,
            remedy: "open it before that, or make it at another address (`Options::address`)",
        },
        AttachError::NoPlace => OpenError::NoPlace(name),
        AttachError::TooManyHeaps => OpenError::TooManyHeaps,
        AttachError::System(source) => OpenError::System { doing: "attaching to", path: name.into(), source },
    }
}
