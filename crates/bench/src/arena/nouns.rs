//! Measurements of nouns, of the collector and of small objects: what does not depend on the disk.

use std::alloc::Layout;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::report::Report;
use crate::row::Row;

use super::{BenchError, BenchOptions, Wanted};
use banyan_arena::disk::FileDisk;
use banyan_arena::noun::{Collection, Noun, Nouns};
use banyan_arena::{Arena, ArenaOptions};

/// Processor time of this thread: what other processes do meanwhile does not count, as far as they leave the
/// caches alone.
struct ProcessorTime(Duration);

impl ProcessorTime {
    fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Self(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
    fn elapsed(&self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// Measures what does not depend on the disk: `alloc.small`, `jam`, `cue` and `gc.step`.
pub(super) fn nouns(
    directory: &Path,
    options: BenchOptions,
    wanted: Wanted<'_>,
    report: &mut Report,
) -> Result<(), BenchError> {
    let mut arena = Arena::create(&directory.join("bench-nouns.arena"), ArenaOptions::default())?;
    if wanted("arena.alloc.small") {
        small_objects(&mut arena, report)?;
    }
    if wanted("arena.jam") || wanted("arena.cue") {
        jam_and_cue(&mut Nouns::new(&mut arena), report)?;
    }
    if wanted("arena.jam.large") || wanted("arena.cue.large") {
        large_noun(&mut Nouns::new(&mut arena), options.large_cells, report)?;
    }
    if wanted("arena.gc.step") {
        collection(&mut arena, options.live, report)?;
    }
    Ok(())
}

/// The best of a few turns of two contestants, interleaved: nanoseconds for one of `count`.
fn duel(
    turns: usize,
    count: usize,
    ours: &mut dyn FnMut() -> Result<(), BenchError>,
    theirs: &mut dyn FnMut(),
) -> Result<(f64, f64), BenchError> {
    let (mut our_best, mut their_best) = (f64::MAX, f64::MAX);
    for _ in 0..turns {
        let started = ProcessorTime::now();
        ours()?;
        our_best = our_best.min(started.elapsed().as_secs_f64() * 1e9 / count as f64);
        let started = ProcessorTime::now();
        theirs();
        their_best = their_best.min(started.elapsed().as_secs_f64() * 1e9 / count as f64);
    }
    Ok((our_best, their_best))
}

/// The allocator that ours is compared with.
mod rival {
    #[cfg(feature = "rivals")]
    pub(super) use mimalloc::MiMalloc as Rival;
    #[cfg(not(feature = "rivals"))]
    pub(super) use std::alloc::System as Rival;

    pub(super) const NAME: &str =
        if cfg!(feature = "rivals") { "mimalloc" } else { "the C library's; mimalloc is not in this build" };
}

const OBJECTS: usize = 1 << 18;

/// Objects of 16 to 128 bytes: a burst of them freed in the order in which they were made, then a window
/// of live objects of which a random one is replaced again and again.
fn small_objects(arena: &mut Arena, report: &mut Report) -> Result<(), BenchError> {
    use std::alloc::GlobalAlloc;

    use self::rival::Rival;

    let sizes: Vec<Layout> =
        (1..=8).filter_map(|units| Layout::from_size_align(units * 16, 16).ok()).collect();
    let mut seed = 1_u64;
    let plan: Vec<(usize, usize)> = (0..OBJECTS)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((seed >> 40) as usize % sizes.len(), (seed >> 20) as usize % 4096)
        })
        .collect();
    let mut live = Vec::with_capacity(OBJECTS);
    let mut others = Vec::with_capacity(OBJECTS);
    let burst = duel(
        9,
        OBJECTS,
        &mut || {
            for (size, _) in &plan {
                let object = arena.allocate(sizes[*size])?;
                // SAFETY: the object was just allocated with at least 16 bytes.
                unsafe { object.write(1) };
                live.push(object);
            }
            for (object, (size, _)) in live.drain(..).zip(&plan) {
                // SAFETY: each object was allocated just above with this layout.
                unsafe { arena.free(object, sizes[*size]) };
            }
            Ok(())
        },
        &mut || {
            for (size, _) in &plan {
                // SAFETY: the layout is not empty.
                let object = unsafe { Rival.alloc(sizes[*size]) };
                assert!(!object.is_null(), "no memory");
                // SAFETY: the object was just allocated with at least 16 bytes.
                unsafe { object.write(1) };
                others.push(object);
            }
            for (object, (size, _)) in others.drain(..).zip(&plan) {
                // SAFETY: each object was allocated just above with this layout.
                unsafe { Rival.dealloc(object, sizes[*size]) };
            }
        },
    )?;
    let window = window(arena, &sizes, &plan)?;
    let ratio = (burst.1 / burst.0).min(window.1 / window.0);
    let row = Row::new("arena.alloc.small", burst.0.max(window.0), "ns a pair")
        .judged("at least 0.8 x mimalloc", ratio >= 0.8 && cfg!(feature = "rivals"))
        .against("mimalloc", ratio)
        .note(format!(
            "burst {:.1} against {:.1} ns, window {:.1} against {:.1} ns; rival: {}",
            burst.0,
            burst.1,
            window.0,
            window.1,
            rival::NAME
        ));
    report.add(&row);
    Ok(())
}

fn window(arena: &mut Arena, sizes: &[Layout], plan: &[(usize, usize)]) -> Result<(f64, f64), BenchError> {
    use std::alloc::GlobalAlloc;

    use self::rival::Rival;

    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..4096 {
        ours.push((arena.allocate(sizes[0])?, 0));
        // SAFETY: the layout is not empty.
        theirs.push((unsafe { Rival.alloc(sizes[0]) }, 0));
    }
    let times = duel(
        9,
        OBJECTS,
        &mut || {
            for (size, place) in plan {
                let (object, old) = ours[*place];
                // SAFETY: the object is in the window, and was allocated with this layout.
                unsafe { arena.free(object, sizes[old]) };
                let object = arena.allocate(sizes[*size])?;
                // SAFETY: the object was just allocated with at least 16 bytes.
                unsafe { object.write(1) };
                ours[*place] = (object, *size);
            }
            Ok(())
        },
        &mut || {
            for (size, place) in plan {
                let (object, old) = theirs[*place];
                // SAFETY: the object is in the window and was allocated with this layout; the new one is not
                // empty.
                let object = unsafe {
                    Rival.dealloc(object, sizes[old]);
                    Rival.alloc(sizes[*size])
                };
                assert!(!object.is_null(), "no memory");
                // SAFETY: the object was just allocated with at least 16 bytes.
                unsafe { object.write(1) };
                theirs[*place] = (object, *size);
            }
        },
    )?;
    for ((object, size), (other, other_size)) in ours.into_iter().zip(theirs) {
        // SAFETY: both windows hold objects that were allocated with these layouts.
        unsafe {
            arena.free(object, sizes[size]);
            Rival.dealloc(other, sizes[other_size]);
        }
    }
    Ok(times)
}

/// How far back the parts lie that a new cell shares.
#[derive(Clone, Copy)]
enum Sharing {
    /// At any power of two with the same chance, as in data that was built up by a program.
    NearAndFar,
    /// Anywhere: nearly every reference misses the processor's caches.
    Anywhere,
}

/// Cells of a noun of some 1 MB when jammed.
const CELLS: usize = 250_000;

/// A noun of N cells: small numbers, texts, and cells of which half the heads are cells that were made
/// before.
fn shared_noun(nouns: &mut Nouns<'_, FileDisk>, sharing: Sharing, count: usize) -> Result<Noun, BenchError> {
    let mut seed = 1_u64;
    let mut next = move |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % bound
    };
    let mut texts = Vec::new();
    for at in 0..2000_u64 {
        texts.push(nouns.atom_of_bytes(format!("text number {}", at * at).as_bytes())?);
    }
    let mut cells = vec![Noun::ZERO];
    let mut roots = Vec::new();
    for at in 0..count {
        let head = match next(100) {
            0..35 => Noun::small(next(256) as u32),
            35..45 => texts[next(texts.len())],
            _ => {
                let reach = match sharing {
                    Sharing::NearAndFar => 1 << next(cells.len().ilog2() as usize + 1),
                    Sharing::Anywhere => cells.len(),
                };
                cells[cells.len() - 1 - next(reach)]
            }
        };
        let last = cells[cells.len() - 1];
        if at % 16 == 0 {
            roots.push(last);
            cells.push(nouns.cell(head, Noun::ZERO)?);
        } else {
            cells.push(nouns.cell(head, last)?);
        }
    }
    Ok(nouns.list(&roots)?)
}

/// What jam and cue of one noun reached, in MB/s of jammed bytes.
struct JamRates {
    bytes: usize,
    jam: f64,
    cue: f64,
    /// The first cue, into memory that was never touched before.
    first_cue: f64,
}

/// The best of a few turns. What a turn has made is collected before the next, as in a program that lives on.
fn jam_rates(
    nouns: &mut Nouns<'_, FileDisk>,
    sharing: Sharing,
    (cells, turns): (usize, usize),
) -> Result<JamRates, BenchError> {
    let whole = shared_noun(nouns, sharing, cells)?;
    let (mut jam_time, mut cue_time, mut first_cue, mut bytes) = (f64::MAX, f64::MAX, None, 0);
    for _ in 0..turns {
        let started = ProcessorTime::now();
        let jammed = nouns.jam(whole);
        jam_time = jam_time.min(started.elapsed().as_secs_f64());
        bytes = jammed.len();
        let started = ProcessorTime::now();
        black_box(nouns.cue(&jammed)?);
        let time = started.elapsed().as_secs_f64();
        first_cue.get_or_insert(time);
        cue_time = cue_time.min(time);
        while !matches!(nouns.collect_step(Duration::from_secs(1), &[whole]), Collection::Done(_)) {}
    }
    let rate = |time: f64| bytes as f64 / time / 1e6;
    let first_cue = rate(first_cue.unwrap_or(f64::MAX));
    Ok(JamRates { bytes, jam: rate(jam_time), cue: rate(cue_time), first_cue })
}

fn jam_and_cue(nouns: &mut Nouns<'_, FileDisk>, report: &mut Report) -> Result<(), BenchError> {
    let near = jam_rates(nouns, Sharing::NearAndFar, (CELLS, 9))?;
    let far = jam_rates(nouns, Sharing::Anywhere, (CELLS, 9))?;
    let JamRates { bytes, first_cue, .. } = near;
    let fresh = format!("; into memory never touched before: {first_cue:.0} MB/s");
    for (name, value, far, more) in
        [("arena.jam", near.jam, far.jam, ""), ("arena.cue", near.cue, far.cue, &fresh)]
    {
        let row = Row::new(name, value, "MB/s").judged("at least 100 MB/s", value >= 100.0).note(format!(
                "{bytes} bytes, 250000 cells that share parts near and far, best of 9; sharing anywhere: {far:.0} MB/s{more}"
            ));
        report.add(&row);
    }
    Ok(())
}

/// The same of a noun that fits no cache.
fn large_noun(nouns: &mut Nouns<'_, FileDisk>, cells: usize, report: &mut Report) -> Result<(), BenchError> {
    let JamRates { bytes, jam, cue, first_cue } = jam_rates(nouns, Sharing::NearAndFar, (cells, 3))?;
    let fresh = format!("; into memory never touched before: {first_cue:.0} MB/s");
    for (name, value, more) in [("arena.jam.large", jam, ""), ("arena.cue.large", cue, &fresh)] {
        let row = Row::new(name, value, "MB/s")
            .judged("at least 60 MB/s", value >= 60.0)
            .note(format!("{bytes} bytes, {cells} cells that share parts near and far, best of 3{more}"));
        report.add(&row);
    }
    Ok(())
}

/// A tree of `bytes` of live cells, every second one of as many dead; steps of 1 ms, a small event and a
/// commit between each two.
fn collection(arena: &mut Arena, bytes: usize, report: &mut Report) -> Result<(), BenchError> {
    let mut nouns = Nouns::new(arena);
    let mut root = Noun::ZERO;
    for at in 0..bytes / 64 {
        let leaf = nouns.cell(Noun::small(at as u32), Noun::ZERO)?;
        // Dead as soon as it is made.
        black_box(nouns.cell(leaf, Noun::ZERO)?);
        root = nouns.cell(leaf, root)?;
    }
    arena.set_root("state", root.word());
    arena.commit(0, 0)?;
    let (mut steps, mut commits) = (Vec::new(), Vec::new());
    let done = loop {
        let mut nouns = Nouns::new(arena);
        let event = nouns.cell(Noun::small(steps.len() as u32), root)?;
        let started = ProcessorTime::now();
        let progress = nouns.collect_step(Duration::from_millis(1), &[]);
        steps.push(started.elapsed());
        if let Collection::Done(done) = progress {
            break done;
        }
        // A commit costs a sync, and there are thousands of steps: each tenth shows that commits go on.
        if steps.len().is_multiple_of(10) {
            arena.set_root("event", event.word());
            let started = Instant::now();
            arena.commit(0, steps.len() as u64)?;
            commits.push(started.elapsed());
        }
    };
    steps.sort_unstable();
    commits.sort_unstable();
    let ms = |times: &[Duration], part: usize| {
        times
            .get((times.len() * part / 1000).min(times.len().saturating_sub(1)))
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    let value = ms(&steps, 999);
    let row = Row::new("arena.gc.step", value, "ms").judged("at most 2 ms, p99.9 of the steps", value <= 2.0).note(format!(
            "{} MiB live, {} MiB freed, {} steps, p50 {:.2} ms, longest {:.2} ms, {} commits between them, p50 {:.2} ms",
            done.live_bytes >> 20,
            done.freed_bytes >> 20,
            steps.len(),
            ms(&steps, 500),
            ms(&steps, 1000),
            commits.len(),
            ms(&commits, 500),
        ));
    report.add(&row);
    Ok(())
}
