//! The promises of the cell: numbers of the timetable by counting, lithium kept, steps alone as in the series.

use super::schedule::{HALF, PLATING, SCANS, STRIPPING};
use super::*;
use crate::phantom::matter::{LABELS, Label, Voxel};

fn tiny(seed: u64) -> CellSettings {
    CellSettings::new(Preset::parse("tiny").unwrap(), seed)
}

/// What a stranger counts in the voxels of a step.
struct Counted {
    /// Voxels and levels of each label.
    voxels: [u64; 7],
    levels: u64,
    /// Columns in which each label occurs.
    area: [u64; 7],
    columns: u64,
    gap: f64,
}

impl Counted {
    fn of(cell: &Cell, k: usize) -> Counted {
        let [nx, ny, nz] = cell.settings.preset.size;
        let mut voxels = vec![0u16; nx * ny * nz];
        cell.step(k).unwrap().voxels(0..nz, &mut voxels);
        let mut counted = Counted { voxels: [0; 7], levels: 0, area: [0; 7], columns: (nx * nz) as u64, gap: 0.0 };
        for z in 0..nz {
            for x in 0..nx {
                let mut seen = [false; 7];
                let (mut last, mut first) = (0, ny);
                for y in 0..ny {
                    let v = Voxel(voxels[(z * ny + y) * nx + x]);
                    let label = usize::from(v.label());
                    counted.voxels[label] += 1;
                    counted.levels += u64::from(v.level());
                    seen[label] = true;
                    if label == Label::PlatingElectrode as usize {
                        last = y;
                    }
                    if label == Label::StrippingElectrode as usize {
                        first = first.min(y);
                    }
                }
                counted.gap += (first as f64 - last as f64) * VOXEL / (nx * nz) as f64;
                counted.area.iter_mut().zip(seen).for_each(|(a, s)| *a += u64::from(s));
            }
        }
        counted
    }
    fn thickness(&self, label: Label) -> f64 {
        self.voxels[label as usize] as f64 * VOXEL / self.columns as f64
    }
    fn area(&self, label: Label) -> f64 {
        self.area[label as usize] as f64 / self.columns as f64
    }
}

#[test]
fn the_timetable_is_recovered_by_counting_and_no_lithium_is_lost() {
    for seed in [1, 2] {
        let cell = Cell::new(tiny(seed), Isa::detect()).unwrap();
        let pristine = Counted::of(&cell, 0);
        let mut pits_at_half = 0.0;
        for k in 0..SCANS {
            let c = Counted::of(&cell, k);
            let row = schedule::row(k, &Chemistry::default());
            // Within 1 %, or one voxel layer (of the part of the field that it covers).
            let close = |what: &str, got: f64, want: f64, layer: f64| {
                let bound = (0.01 * want).max(layer);
                assert!((got - want).abs() <= bound, "seed {seed} step {k}: {what} {got} for {want}");
            };
            // At the end the deposited layer is thinner than the one voxel that each covered column has.
            let thin = if k > HALF { VOXEL * row.deposited_area + 0.001 } else { 0.001 };
            close("stripping", c.thickness(Label::StrippingElectrode), STRIPPING - row.stripped, 0.001);
            close("deposited", c.thickness(Label::Deposited), row.deposited, thin);
            close("dendrite", c.thickness(Label::Dendrite), row.dendrite, 0.001);
            close("redeposited", c.thickness(Label::Redeposited), row.redeposited, 0.001);
            close("deposited area", c.area(Label::Deposited), row.deposited_area, 1e-3);
            close("dendrite area", c.area(Label::Dendrite), row.dendrite_area, 1e-3);
            close("redeposited area", c.area(Label::Redeposited), row.redeposited_area, 1e-3);
            if k <= HALF {
                close("pit area", c.area(Label::Pit), row.pit_area, 1e-3);
                close("pits", c.thickness(Label::Pit), 0.6 * row.stripped, 0.001);
                close("plating", c.thickness(Label::PlatingElectrode), PLATING, 0.001);
                let moved = c.gap - pristine.gap - row.stripped;
                assert!((moved - row.gap).abs() <= VOXEL, "step {k}: moved by {moved} for {}", row.gap);
            }
            if k == HALF {
                pits_at_half = c.thickness(Label::Pit);
            }
            if k == 24 {
                close("voids", c.area(Label::Pit), VOID_AREA, 1e-3);
                close("voids", c.thickness(Label::Pit), VOID_SHARE * pits_at_half, 0.01);
            }
            // To the 255th of a voxel.
            assert_eq!(c.levels, pristine.levels, "seed {seed} step {k}");
            assert_eq!(cell.step(k).unwrap().balance.solid, c.levels);
            assert_eq!(c.voxels.iter().sum::<u64>(), 64 * 288 * 48);
        }
        let total = (PLATING + STRIPPING) / VOXEL * 255.0 * 64.0 * 48.0;
        assert!((pristine.levels as f64 - total).abs() <= 255.0, "{} for {total}", pristine.levels);
    }
}

#[test]
fn what_grows_never_moves_and_what_is_stripped_stays_stripped() {
    let cell = Cell::new(tiny(3), Isa::detect()).unwrap();
    let [nx, ny, nz] = cell.settings.preset.size;
    let mut before: Option<Vec<u16>> = None;
    for k in 0..=HALF {
        let mut now = vec![0u16; nx * ny * nz];
        cell.step(k).unwrap().voxels(0..nz, &mut now);
        if let Some(before) = before {
            // The stripping side stays where it is: electrode only becomes pit or electrolyte, pits only grow.
            let electrode = Label::StrippingElectrode as u8;
            let gained = before
                .iter()
                .zip(&now)
                .filter(|(b, n)| Voxel(**b).label() != electrode && Voxel(**n).label() == electrode);
            assert_eq!(gained.count(), 0, "step {k}");
        }
        before = Some(now);
    }
}

#[test]
fn chemistry_goes_to_the_sink_and_what_does_not_close_is_refused() {
    let chemistry = Chemistry { efficiency: 0.9, side_reaction: 0.05, dead: 2.0, pores: 0.1 };
    let settings = CellSettings { chemistry, pit_correlation: 0.7, pore_fill: Fill::Electrolyte, ..tiny(4) };
    let cell = Cell::new(settings, Isa::detect()).unwrap();
    let full = cell.step(0).unwrap().balance.solid;
    for k in [1, 6, 12, 13, 20, 24] {
        let step = cell.step(k).unwrap();
        let counted = Counted::of(&cell, k);
        assert_eq!(counted.levels, step.balance.solid);
        assert_eq!(step.balance.solid + step.balance.sink, full, "step {k}");
        assert!(step.balance.sink > 0);
    }
    // Blind draws are in range, and not all the same.
    let drawn: Vec<CellSettings> = (0..6).map(|seed| tiny(seed).blind()).collect();
    assert!(drawn.windows(2).all(|w| w[0].chemistry != w[1].chemistry));
    for settings in drawn {
        let cell = Cell::new(settings, Isa::detect()).unwrap();
        (0..SCANS).for_each(|k| drop(cell.step(k).unwrap()));
    }
    for bad in [
        Chemistry { efficiency: 0.2, ..Chemistry::default() },
        Chemistry { side_reaction: f64::NAN, ..Chemistry::default() },
        Chemistry { dead: 9.0, ..Chemistry::default() },
        Chemistry { pores: 0.9, ..Chemistry::default() },
    ] {
        let error = Cell::new(CellSettings { chemistry: bad, ..tiny(1) }, Isa::detect()).err().unwrap();
        assert_eq!(error.fault().exit_code(), 2);
    }
    assert_eq!(Preset::parse("tinny").unwrap_err().fault().exit_code(), 2);
}

#[test]
fn pores_in_the_stripping_electrode_keep_its_face_and_the_lithium() {
    let chemistry = Chemistry { pores: schedule::printed_pores(0.0), ..Chemistry::default() };
    let cell = Cell::new(CellSettings { chemistry, ..tiny(5) }, Isa::detect()).unwrap();
    let pristine = Counted::of(&cell, 0);
    for (k, printed) in [(0, 112.9), (6, 107.3), (12, 101.7), (24, 101.7)] {
        let counted = Counted::of(&cell, k);
        let step = cell.step(k).unwrap();
        let thickness = counted.thickness(Label::StrippingElectrode);
        assert!((thickness - printed).abs() < 1e-3, "step {k}: {thickness} for {printed}");
        assert_eq!((counted.levels, step.balance.sink), (pristine.levels, 0), "step {k}");
        assert_eq!(step.balance.solid, counted.levels);
        let layers = step.specimen().unwrap().layers;
        let solid: f64 = layers.iter().map(|l| (l.y[1] - l.y[0]) * f64::from(l.voxel.level())).sum();
        assert!((solid * (64 * 48) as f64 / counted.levels as f64 - 1.0).abs() < 3e-3, "step {k}: {solid}");
    }
}

#[test]
fn bits_do_not_depend_on_threads_sets_or_slabs_and_seeds_differ() {
    let [nx, ny, nz] = tiny(1).preset.size;
    let all = |settings: CellSettings, isa: Isa, slab: usize| {
        let cell = Cell::new(settings, isa).unwrap();
        let step = cell.step(17).unwrap();
        let mut voxels = vec![0u16; nx * ny * nz];
        for (i, out) in voxels.chunks_mut(slab * ny * nx).enumerate() {
            step.voxels(i * slab..i * slab + out.len() / (ny * nx), out);
        }
        voxels
    };
    let pool = |n: usize| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let want = pool(1).install(|| all(tiny(1), Isa::scalar(), nz));
    for (isa, threads) in Isa::available().into_iter().zip([2, 3, 7].into_iter().cycle()) {
        assert!(want == pool(threads).install(|| all(tiny(1), isa, 5)), "{} {threads}", isa.name());
    }
    assert!(want != all(tiny(2), Isa::detect(), nz));
}

#[test]
fn presets_hold_their_cell_and_markers_stay_inside_their_bodies() {
    for preset in PRESETS {
        let back = preset.stripping_from() + voxels(STRIPPING);
        assert!(back + preset.outside_stripping.iter().sum::<usize>() <= preset.size[1], "{}", preset.name);
        // The plating side stays inside when it has moved out, with its waves.
        assert!(preset.plating_from() > voxels(39.3) + 7, "{}", preset.name);
        assert!(preset.electrolyte >= 60 && preset.plating_from() >= 40);
        // Interior tomography: the box lies inside the circle of the detector, wherever it is moved; the demo's as it stands, its
        // corners are not measured.
        let [nx, ny, _] = preset.size;
        let moved = if preset.name == "demo" { 0.0 } else { 20.0 };
        assert!(((nx * nx + ny * ny) as f64).sqrt() + moved < preset.columns as f64, "{}", preset.name);
    }
    let cell = Cell::new(tiny(1), Isa::detect()).unwrap();
    for k in [0, 12, 24] {
        let s = cell.step(k).unwrap().specimen().unwrap();
        assert!(s.plating_until + 7.0 < s.stripping_from);
        for m in &s.markers {
            let centre = m.centre.map(|v| v.round() as usize);
            let v = Voxel(s.voxels[(centre[2] * s.dims.ny + centre[1]) * s.dims.nx + centre[0]]);
            assert!(v.fill() == m.fill as u8, "{m:?} {v:?} at step {k}");
        }
        assert!(s.layers.windows(2).all(|w| w[0].y[1] <= w[1].y[0] + 1e-9), "{:?}", s.layers);
        // The layers are the cell's mean: solid lithium per column.
        let solid: f64 =
            s.layers.iter().map(|l| (l.y[1] - l.y[0]) * f64::from(l.voxel.level())).sum::<f64>() * (64 * 48) as f64;
        let levels = cell.step(k).unwrap().balance.solid as f64;
        assert!((solid / levels - 1.0).abs() < 2e-3, "step {k}: {solid} {levels}");
    }
    assert_eq!(LABELS.len(), 7);
}
