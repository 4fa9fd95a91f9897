//! [`Address`]: how an actor knows another one.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fail;
use crate::sys::{host, one_thread};

/// The address of an actor that takes messages of type `M`. It comes from `create`, from a message, or is
/// one's own.
pub struct Address<M> {
    handle: Rc<Handle>,
    takes: PhantomData<fn(M)>,
}

/// A number in the host's table for this actor; given back when the last copy here is dropped.
struct Handle(u32);

impl Drop for Handle {
    fn drop(&mut self) {
        // Number 0 is the actor itself, for ever.
        if self.0 != 0 {
            host::release(self.0);
        }
    }
}

impl<M> Address<M> {
    pub(crate) fn of(handle: u32) -> Self {
        Self { handle: Rc::new(Handle(handle)), takes: PhantomData }
    }

    pub(crate) fn handle(&self) -> u32 {
        self.handle.0
    }

    /// The same actor as one that takes other messages. It checks what it gets, so a wrong type here fails
    /// there.
    #[must_use]
    pub fn cast<N>(self) -> Address<N> {
        Address { handle: self.handle, takes: PhantomData }
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { handle: Rc::clone(&self.handle), takes: PhantomData }
    }
}

impl<M> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        host::same(self.handle(), other.handle()) != 0
    }
}

impl<M> Eq for Address<M> {}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({})", self.handle())
    }
}

one_thread!(
    /// The handles of the message being written; in its bytes they are indexes.
    WRITING: Vec<u32> = Vec::new()
);

/// A value as the bytes of a message, and the handles that they refer to.
pub(crate) fn encode<T: Serialize>(value: &T) -> (Vec<u8>, Vec<u32>) {
    WRITING.with(|handles| handles.borrow_mut().clear());
    match postcard::to_allocvec(value) {
        Ok(bytes) => (bytes, WRITING.with(RefCell::take)),
        Err(error) => fail(&alloc::format!("a message could not be written: {error}")),
    }
}

/// The value that a message's bytes are; the event fails if they are none.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> T {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => value,
        Ok((_, rest)) => fail(&alloc::format!("{} bytes are left over after the message", rest.len())),
        Err(error) => {
            let name = core::any::type_name::<T>();
            fail(&alloc::format!("{} bytes are no message of type {name}: {error}", bytes.len()))
        }
    }
}

impl<M> Serialize for Address<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = WRITING.with(|handles| {
            let mut handles = handles.borrow_mut();
            let found = handles.iter().position(|handle| *handle == self.handle());
            found.unwrap_or_else(|| {
                handles.push(self.handle());
                handles.len() - 1
            })
        });
        serializer.serialize_u32(index as u32)
    }
}

impl<'de, M> Deserialize<'de> for Address<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(host::message_address(u32::deserialize(deserializer)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, decode, encode};

    #[test]
    fn an_address_is_an_index_into_the_messages_table() {
        let (one, other) = (Address::<u8>::of(7), Address::<u8>::of(9));
        let (bytes, handles) = encode(&(300u16, one.clone(), other, one));
        assert_eq!(bytes, [0xac, 2, 0, 1, 0]);
        assert_eq!(handles, [7, 9]);
        // The table of the next message begins empty.
        assert_eq!(encode(&Address::<u8>::of(9)), (vec![0], vec![9]));
    }

    #[test]
    fn what_was_written_is_read() {
        let (bytes, _) = encode(&("words", Some(-5i64)));
        assert_eq!(decode::<(String, Option<i64>)>(&bytes), ("words".to_owned(), Some(-5)));
    }
}
