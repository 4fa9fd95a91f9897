//! A disk that remembers which writes are durable, and notes a crash point before each sync.
//!
//! A sync can be made to fail, as a page cache does it: what it was to make durable is read as it was
//! written, and is never written again, so that a power cut later on may bring back what was there before.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::disk::{Block, Disk, MemoryDisk, Room};

pub(crate) const SECTOR: usize = 512;

/// What was written and is not durable: versions of each sector, oldest first, and lengths.
#[derive(Clone, Default)]
pub(crate) struct Window {
    pub(crate) sectors: BTreeMap<u64, Vec<[u8; SECTOR]>>,
    pub(crate) lengths: Vec<u64>,
}

/// A moment at which the power may fail.
#[derive(Clone)]
pub(crate) struct CrashPoint {
    pub(crate) durable: Arc<Vec<u8>>,
    pub(crate) window: Window,
    /// The newest commit that had been acknowledged, as an index into the model's versions.
    pub(crate) acknowledged: usize,
}

#[derive(Default)]
struct State {
    durable: Arc<Vec<u8>>,
    window: Window,
    /// Sectors that nobody waits for, which a crash leaves old or new.
    noted: BTreeMap<u64, [u8; SECTOR]>,
    /// What a failed sync has lost: versions as in a window, which later syncs do not make durable.
    lost: BTreeMap<u64, Vec<[u8; SECTOR]>>,
    /// Where the disk is full.
    most: Option<u64>,
    /// Syncs until one fails.
    failing: Option<u64>,
    acknowledged: usize,
    points: Vec<CrashPoint>,
}

/// The recording disk.
pub(crate) struct RecordingDisk {
    current: MemoryDisk,
    state: Mutex<State>,
}

impl RecordingDisk {
    pub(crate) fn new(image: Vec<u8>) -> Self {
        let state = State { durable: Arc::new(image.clone()), ..State::default() };
        Self { current: MemoryDisk::new(image), state: Mutex::new(state) }
    }

    /// The program was told that the model's version `index` is durable.
    pub(crate) fn acknowledge(&self, index: usize) {
        let mut state = self.state.lock().unwrap();
        state.acknowledged = index;
        if !state.window.sectors.is_empty() {
            state.note();
        }
    }

    /// Does not grow beyond this length.
    pub(crate) fn fill_up(&self, most: u64) {
        self.state.lock().unwrap().most = Some(most);
    }

    /// Has the sync after so many others fail; `None`: none fails any more.
    pub(crate) fn fail_sync(&self, after: Option<u64>) {
        self.state.lock().unwrap().failing = after;
    }

    pub(crate) fn window_is_empty(&self) -> bool {
        self.state.lock().unwrap().window.sectors.is_empty()
    }

    pub(crate) fn take_points(&self) -> Vec<CrashPoint> {
        let mut state = self.state.lock().unwrap();
        state.note();
        std::mem::take(&mut state.points)
    }
}

impl State {
    fn note(&mut self) {
        let mut window = self.window.clone();
        for (sector, versions) in &self.lost {
            window.sectors.entry(*sector).or_default().splice(0..0, versions.iter().copied());
        }
        for (sector, bytes) in &self.noted {
            window.sectors.entry(*sector).or_default().push(*bytes);
        }
        let point =
            CrashPoint { durable: Arc::clone(&self.durable), window, acknowledged: self.acknowledged };
        self.points.push(point);
    }

    fn record(&mut self, offset: u64, pieces: &[&[u8]]) -> Vec<u64> {
        let mut touched = Vec::new();
        let mut sector = offset / SECTOR as u64;
        for piece in pieces {
            for bytes in piece.as_chunks::<SECTOR>().0 {
                self.noted.remove(&sector);
                self.window.sectors.entry(sector).or_default().push(*bytes);
                touched.push(sector);
                sector += 1;
            }
        }
        touched
    }

    /// Whether this sync is the one that fails: these sectors are lost then, as far as it was to write them.
    fn fails(&mut self, sectors: &[u64]) -> bool {
        match &mut self.failing {
            None => return false,
            Some(0) => {}
            Some(left) => {
                *left -= 1;
                return false;
            }
        }
        self.failing = None;
        for sector in sectors {
            let versions = self.window.sectors.remove(sector).unwrap_or_default();
            self.lost.entry(*sector).or_default().extend(versions);
        }
        true
    }

    /// What was noted is lost with the rest, and stays so until it is noted again.
    fn lose_notes(&mut self) {
        for (sector, bytes) in std::mem::take(&mut self.noted) {
            self.lost.entry(sector).or_default().push(bytes);
        }
    }

    fn settle_notes(&mut self) {
        let durable = Arc::make_mut(&mut self.durable);
        for (sector, bytes) in std::mem::take(&mut self.noted) {
            self.lost.remove(&sector);
            let start = sector as usize * SECTOR;
            durable[start..start + SECTOR].copy_from_slice(&bytes);
        }
    }

    /// These sectors, and the length, reach the platter.
    fn settle(&mut self, sectors: &[u64]) {
        let durable = Arc::make_mut(&mut self.durable);
        if let Some(length) = self.window.lengths.pop() {
            durable.resize(length as usize, 0);
        }
        self.window.lengths.clear();
        for sector in sectors {
            if let Some(version) = self.window.sectors.remove(sector).and_then(|mut list| list.pop()) {
                self.lost.remove(sector);
                let start = *sector as usize * SECTOR;
                durable[start..start + SECTOR].copy_from_slice(&version);
            }
        }
    }
}

impl Disk for RecordingDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.current.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let end = offset + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        assert!(end <= self.current.length()?, "a write beyond the end of the disk");
        self.current.write_at(offset, pieces)?;
        self.state.lock().unwrap().record(offset, pieces);
        Ok(())
    }
    /// Only these bytes become durable, as with `RWF_DSYNC`.
    fn write_durable_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.current.write_at(offset, pieces)?;
        let mut state = self.state.lock().unwrap();
        let touched = state.record(offset, pieces);
        state.note();
        if state.fails(&touched) {
            return Err(io::Error::other("a failed sync"));
        }
        state.settle(&touched);
        Ok(())
    }
    /// All that differs from what was there is in the first sector. Of several notes before a sync only the
    /// last one is kept: those between it and the durable one say nothing that neither says.
    fn note_at(&self, offset: u64, block: &Block) -> io::Result<()> {
        self.current.write_at(offset, &[&block.0])?;
        let first = block.0.first_chunk::<SECTOR>().unwrap();
        self.state.lock().unwrap().noted.insert(offset / SECTOR as u64, *first);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if !state.window.sectors.is_empty() || !state.window.lengths.is_empty() {
            state.note();
            let all: Vec<u64> = state.window.sectors.keys().copied().collect();
            if state.fails(&all) {
                state.lose_notes();
                return Err(io::Error::other("a failed sync"));
            }
            state.settle(&all);
        }
        state.settle_notes();
        Ok(())
    }
    fn length(&self) -> io::Result<u64> {
        self.current.length()
    }
    fn grow(&self, length: u64, room: Room) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.most.is_some_and(|most| length > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let before = self.current.length()?;
        self.current.grow(length, room)?;
        if length > before {
            state.window.lengths.push(length);
        }
        Ok(())
    }
    fn cut(&self, length: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if length < self.current.length()? {
            let State { window, lost, noted, .. } = &mut *state;
            for sectors in [&mut window.sectors, lost] {
                sectors.retain(|sector, _| (sector + 1) * SECTOR as u64 <= length);
            }
            noted.retain(|sector, _| (sector + 1) * SECTOR as u64 <= length);
            self.current.cut(length)?;
            state.window.lengths.push(length);
        }
        Ok(())
    }
}
