//! Making heaps, attaching to them, and taking their names away.

use std::io;
use std::path::Path;
use std::time::Duration;

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
        let mut last = OpenError::Busy(directory.path.clone());
        let mut is_own = false;
        for _ in 0..OPEN_ATTEMPTS {
            let found = match directory.find(name)? {
                Some(_) if options.existing == Existing::Create && !is_own => {
                    return Err(OpenError::Exists { name: name.to_owned() });
                }
                None if options.existing == Existing::Attach => {
                    return Err(OpenError::Missing { name: name.to_owned(), directory: directory.path });
                }
                None => {
                    is_own = create(&directory, name, options)?;
                    if !is_own && options.existing == Existing::Create {
                        return Err(OpenError::Exists { name: name.to_owned() });
                    }
                    directory.find(name)?
                }
                found => found,
            };
            let Some(found) = found else { continue };
            check(name, options, &found.header)?;
            match attach(name, found, options.interest)? {
                Attached::Open(heap) => return Ok(heap),
                Attached::Nameless => {}
                Attached::NoPlace => {
                    last = OpenError::NoPlace(name.to_owned());
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        Err(last)
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

enum Attached {
    Open(Heap),
    /// The file has lost its name meanwhile.
    Nameless,
    NoPlace,
}

fn attach(name: &str, found: Found, interest: Interest) -> Result<Attached, OpenError> {
    let system = |source: io::Error| OpenError::System { doing: "attaching to", path: name.into(), source };
    let identity = found.identity().map_err(system)?;
    let (locked, known) = registry::lock_and_find(identity).map_err(system)?;
    let attachment = match known {
        Some(known) => known,
        None => match Attachment::make(&locked, name, found.file.into(), identity, found.header, interest) {
            Ok(made) => made,
            // All places may be taken for a moment only, by a process that looks whether the lease is over.
            Err(AttachError::NoPlace) => return Ok(Attached::NoPlace),
            Err(error) => return Err(attach_error(name, error)),
        },
    };
    // An attachment that is dropped takes the lock.
    drop(locked);
    let has_name = attachment.has_name().map_err(system)?;
    Ok(if has_name { Attached::Open(Heap { attachment }) } else { Attached::Nameless })
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
