//! Where rows of a build wait that its memory has no room for: bytes, written one after another and read again from where
//! they were.

use std::marker::PhantomData;

use mrl_memory::OutOfMemory;

/// Bytes outside the memory of a build, a temporary file of a server for instance.
pub trait Spill {
    /// What an operation that fails answers.
    type Error;

    /// Writes bytes behind all others. Returns where they begin: how many bytes were written before.
    ///
    /// # Errors
    /// What the storage answers.
    fn write(&mut self, bytes: &[u8]) -> Result<u64, Self::Error>;

    /// Reads as many bytes as there is room for, which were written, from a place on.
    ///
    /// # Errors
    /// What the storage answers.
    fn read(&mut self, place: u64, bytes: &mut [u8]) -> Result<(), Self::Error>;
}

/// Bytes in memory: for tests and benchmarks.
#[derive(Debug)]
pub struct MemorySpill<E> {
    bytes: Vec<u8>,
    error: PhantomData<E>,
}

impl<E> Default for MemorySpill<E> {
    fn default() -> Self {
        Self { bytes: Vec::new(), error: PhantomData }
    }
}

impl<E: From<OutOfMemory>> Spill for MemorySpill<E> {
    type Error = E;

    fn write(&mut self, bytes: &[u8]) -> Result<u64, E> {
        let place = self.bytes.len() as u64;
        mrl_memory::extend(&mut self.bytes, bytes)?;
        Ok(place)
    }

    fn read(&mut self, place: u64, bytes: &mut [u8]) -> Result<(), E> {
        bytes.copy_from_slice(&self.bytes[place as usize..][..bytes.len()]);
        Ok(())
    }
}
