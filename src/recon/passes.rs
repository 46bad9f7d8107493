//! Passes over a scan that is larger than memory: what lies between two of them is on disk.
//!
//! | pass | reads | writes | when |
//! |---|---|---|---|
//! | [`copy`] | projections | projections as they are | compressed pieces that every slab would unpack again |
//! | [`sinograms`] | projections, some rows at a time | T (row, angle, column), stripes removed | stripes before phase retrieval |
//! | [`retrieve`] | T, two projections at a time | T (angle, row, column) after phase retrieval | phase retrieval |
//! | [`super::scan::reconstruct`] | projections or T, some rows at a time | slices | always |
//!
//! Blocks are read while the one before is worked on. How many rows a block has is a matter of memory only.

use super::phase::PhasePlan;
use super::prepare::Chain;
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::os::check_interrupt;
use crate::volume::{Sink, Source};
use std::ops::Range;

/// Numbers that [`copy`] holds at a time, twice: 16 MiB.
pub const COPY_BLOCK: usize = 1 << 22;
/// Projections that [`retrieve`] holds at a time, twice.
pub const PAIR: usize = 2;

/// Told how far a pass is: units done, and in all.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// Works on the blocks `first …` of `total` units, `step` at a time, reading one ahead. `read` fills a block, `work` gets
/// it; buffers are `length` numbers each.
///
/// # Errors
/// Those of both; [`crate::error::Fault::Again`] when interrupted.
pub(super) fn blocks(
    first: usize,
    total: usize,
    step: usize,
    length: usize,
    read: impl Fn(Range<usize>, &mut [f32]) -> Result<()> + Sync,
    mut work: impl FnMut(Range<usize>, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let at = |done: usize| done..(done + step).min(total);
    let mut done = first.min(total);
    if done == total {
        return Ok(());
    }
    let mut block = vec![0.0f32; length];
    let mut next = vec![0.0f32; if done + step < total { length } else { 0 }];
    read(at(done), &mut block)?;
    while done < total {
        check_interrupt()?;
        let (now, after) = (at(done), at(done + at(done).len()));
        std::thread::scope(|scope| -> Result<()> {
            let ahead = (!after.is_empty()).then(|| {
                let (read, next) = (&read, &mut next);
                scope.spawn(move || read(after, next))
            });
            let worked = work(now.clone(), &mut block);
            let read = ahead.map_or(Ok(()), |thread| {
                thread.join().unwrap_or_else(|_| Err(Error::bug("the reading thread panicked")))
            });
            worked.and(read)
        })?;
        std::mem::swap(&mut block, &mut next);
        done = now.end;
    }
    Ok(())
}

/// Copies a stack, value for value.
///
/// # Errors
/// Those of source and sink.
pub fn copy(source: &dyn Source, sink: &mut dyn Sink, progress: Progress) -> Result<()> {
    let d = source.dims();
    let step = (COPY_BLOCK / d.slice()).max(1);
    let length = step.min(d.nz) * d.slice();
    let read = |z: Range<usize>, block: &mut [f32]| source.read(z.clone(), 0..d.ny, &mut block[..z.len() * d.slice()]);
    blocks(sink.next_slice(), d.nz, step, length, read, |z, block| {
        sink.write(&block[..z.len() * d.slice()])?;
        progress(z.end, d.nz);
        Ok(())
    })
}

/// Writes what `chain` makes of all rows as a volume (row, angle, column), `slab` rows at a time.
///
/// # Errors
/// Those of the chain and the sink.
pub fn sinograms(
    chain: &Chain,
    rows: usize,
    slab: usize,
    isa: Isa,
    sink: &mut dyn Sink,
    progress: Progress,
) -> Result<()> {
    let [angles, columns] = chain.size();
    let slab = slab.clamp(1, rows);
    let mut turned = vec![0.0f32; slab * angles * columns];
    let read = |r: Range<usize>, block: &mut [f32]| chain.read(0..angles, r, block);
    blocks(sink.next_slice(), rows, slab, chain.length(angles, slab), read, |r, block| {
        let counts = chain.finish(isa, 0..angles, r.clone(), block)?;
        count(sink, r.start, &counts)?;
        let height = r.len();
        for (line, values) in block[..angles * height * columns].chunks_exact(columns).enumerate() {
            let (angle, row) = (line / height, line % height);
            turned[(row * angles + angle) * columns..][..columns].copy_from_slice(values);
        }
        sink.write(&turned[..height * angles * columns])?;
        progress(r.end, rows);
        Ok(())
    })
}

/// Retrieves the phase of what `chain` makes of all projections of `rows` rows.
///
/// # Errors
/// Those of the chain and the sink.
pub fn retrieve(
    chain: &Chain,
    rows: usize,
    plan: &PhasePlan,
    isa: Isa,
    sink: &mut dyn Sink,
    progress: Progress,
) -> Result<()> {
    let [angles, columns] = chain.size();
    let mut work = plan.work();
    let read = |which: Range<usize>, block: &mut [f32]| chain.read(which, 0..rows, block);
    blocks(sink.next_slice(), angles, PAIR, chain.length(PAIR, rows), read, |which, block| {
        let counts = chain.finish(isa, which.clone(), 0..rows, block)?;
        // Counted per row; the slices of this volume are projections.
        for (name, by_row) in counts {
            sink.count(which.start, name, by_row.iter().sum())?;
        }
        let block = &mut block[..which.len() * rows * columns];
        let (first, second) = block.split_at_mut(rows * columns);
        plan.run(isa, &mut work, first, (!second.is_empty()).then_some(second));
        sink.write(block)?;
        progress(which.end, angles);
        Ok(())
    })
}

/// Counts what happened to rows, the first being slice `first` of the sink.
pub(super) fn count(sink: &mut dyn Sink, first: usize, counts: &super::prepare::Counts) -> Result<()> {
    for (name, by_row) in counts {
        for (row, &n) in by_row.iter().enumerate() {
            sink.count(first + row, name, n)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recon::normalize::{Input, InputKind, NonFinite};
    use crate::recon::phase::Paganin;
    use crate::recon::prepare::{Steps, Until};
    use crate::recon::select::Turned;
    use crate::recon::stripe::Stripe;
    use crate::recon::zinger::Zinger;
    use crate::units::{KiloElectronVolt, Micrometre};
    use crate::volume::{Collect, Dims, Memory};

    const SIZE: [usize; 3] = [30, 11, 40];

    fn scan() -> Memory {
        let [angles, rows, columns] = SIZE;
        let values = (0..angles * rows * columns)
            .map(|i| 0.5 + ((i * 7919) % 1009) as f32 / 2018.0 + if i % 733 == 0 { 5.0 } else { 0.0 })
            .collect();
        Memory::new(Dims::new(angles, rows, columns).unwrap(), values).unwrap()
    }

    fn steps() -> Steps {
        Steps {
            zinger: Some(Zinger::new(3, 2.0).unwrap()),
            air: Some(3),
            stripe: Some(Stripe::parse("fw", "").unwrap()),
            phase: None,
        }
    }

    fn turned(steps: &Steps, slab: usize) -> Vec<f32> {
        let [angles, rows, columns] = SIZE;
        let scan = scan();
        let input = Input::new(&scan, InputKind::Transmission, None, NonFinite::Error, 0..rows).unwrap();
        let chain = Chain::new(input, steps, Until::Transmission).unwrap();
        let mut sink = Collect::new(Dims::new(rows, angles, columns).unwrap());
        let mut seen = 0;
        sinograms(&chain, rows, slab, Isa::detect(), &mut sink, &mut |done, _| seen = done).unwrap();
        assert_eq!(seen, rows);
        sink.values
    }

    #[test]
    fn slabs_do_not_show() {
        let want = turned(&steps(), 11);
        for slab in [1, 3, 7, 100] {
            assert_eq!(turned(&steps(), slab), want, "{slab} rows at a time");
        }
        assert_ne!(turned(&Steps { stripe: None, ..steps() }, 3), want);
        assert_ne!(turned(&Steps { zinger: None, ..steps() }, 3), want);
    }

    #[test]
    fn phase_retrieval_takes_either_layout() {
        let [angles, rows, columns] = SIZE;
        let paganin = Paganin {
            energy: KiloElectronVolt(20.0),
            distance: Micrometre(1e4),
            delta_beta: 100.0,
            pixel: Micrometre(2.0),
        };
        let plan = PhasePlan::new(&paganin, rows, columns).unwrap();
        let retrieved = |source: &dyn Source, steps: &Steps| {
            let input = Input::new(source, InputKind::Transmission, None, NonFinite::Error, 0..rows).unwrap();
            let chain = Chain::new(input, steps, Until::Transmission).unwrap();
            let mut sink = Collect::new(Dims::new(angles, rows, columns).unwrap());
            retrieve(&chain, rows, &plan, Isa::detect(), &mut sink, &mut |_, _| {}).unwrap();
            sink.values
        };
        let quick = Steps { stripe: None, ..steps() };
        let between = Memory::new(Dims::new(rows, angles, columns).unwrap(), turned(&quick, 4)).unwrap();
        assert_eq!(retrieved(&Turned(between), &Steps::default()), retrieved(&scan(), &quick));
    }

    #[test]
    fn copies_are_copies() {
        let scan = scan();
        let mut sink = Collect::new(scan.dims());
        copy(&scan, &mut sink, &mut |_, _| {}).unwrap();
        assert_eq!(sink.values, scan.values());
    }
}
