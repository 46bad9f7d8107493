//! Projection angles and the rotation axis: checked once, then believed.
//!
//! A slice pixel at (X, Y), Y upward, is seen at detector coordinate
//!
//! ```text
//! s = X cos θ + Y sin θ + c        c: axis, in detector pixels, first pixel centre = 0
//! ```
//!
//! and the inversion is a sum over directions, `image = Σ w_i q_i(s)`, where `q_i` is the filtered projection and
//! `w_i` the measure of direction i on the circle of directions, of period π. The weights come from the angles as
//! they are, not from π/n, so dropped or blocked views do not change the grey scale near them:
//!
//! ```text
//! w_i = (half the gap to the previous direction) + (half the gap to the next one)
//! ```
//!
//! - A full scan has Σ w = π, over half a turn and over any number of whole turns alike.
//! - Directions that coincide modulo π (0° and 180°, the second half of a full turn) share one cell equally.
//! - A gap without data (missing wedge) is not given to the two views at its border: a gap wider than
//!   [`WIDE_GAP`] typical gaps, and than as many of those around it, counts as such a one, and is reported in
//!   [`Angles::notes`].

use crate::error::{Error, Result};
use crate::num::elementary::{cos, sin};
use crate::units::AngleUnit;
use std::f64::consts::PI;

/// A gap wider than this many typical gaps is a hole in the data.
pub const WIDE_GAP: f64 = 3.0;

/// Directions closer than this part of the typical gap are one direction measured more than once.
/// The image does not depend on it (the sum of the weights is the same); it only shares noise fairly.
const SAME_DIRECTION: f64 = 0.01;

/// The largest span, in radians, that a scan given in radians may have: two turns and a little.
const MAX_RADIAN_SPAN: f64 = 4.0 * PI + 0.1;
/// The smallest span, in degrees, that a scan given in degrees may have: just above one turn read as radians.
const MIN_DEGREE_SPAN: f64 = 7.0;
/// Spans of unknown unit from here (143° as radians) to [`MIN_DEGREE_SPAN`] can only be radians:
/// so few degrees are not a tomogram.
const MIN_CLEAR_RADIAN_SPAN: f64 = 2.5;
/// Beyond so many turns a number is not an angle but something else (an encoder's counts, a time).
const MAX_TURNS: f64 = 1000.0;

/// Validated projection angles with all that depends on them alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Angles {
    radians: Vec<f64>,
    cos: Vec<f64>,
    sin: Vec<f64>,
    weights: Vec<f64>,
    unit: AngleUnit,
    notes: Vec<String>,
}

impl Angles {
    /// Checks `values`, one per projection, and computes cosines, sines and weights in f64.
    ///
    /// `unit` is what the file or the flag says; `None` is unknown, and then the unit is inferred where only one
    /// reading can be a tomogram (said in [`Angles::notes`]).
    ///
    /// Errors: fewer than two angles, a value that is not finite or not an angle, all views from one direction
    /// (bad data); a span that contradicts the unit, or that allows both (usage, naming `--theta-unit`).
    pub fn new(values: &[f64], unit: Option<AngleUnit>) -> Result<Angles> {
        if values.len() < 2 {
            return Err(Error::data(format!("{} projection angle(s): a tomogram needs at least 2", values.len()))
                .help("give one angle per projection with --theta FILE"));
        }
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            let count = values.iter().filter(|v| !v.is_finite()).count();
            return Err(Error::data(format!("projection angle {i} is {} ({count} such in all)", values[i]))
                .help("give the true angles with --theta FILE"));
        }
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        let mut notes = Vec::new();
        let unit = settle_unit(high - low, unit, &mut notes)?;
        let to_radian = match unit {
            AngleUnit::Degree => PI / 180.0,
            AngleUnit::Radian => 1.0,
        };
        if low.abs().max(high.abs()) * to_radian > MAX_TURNS * 2.0 * PI {
            return Err(Error::data(format!("projection angles from {low} to {high} {}: not angles", unit.name()))
                .help("check which dataset holds the angles, or give them with --theta FILE"));
        }
        let radians: Vec<f64> = values.iter().map(|v| v * to_radian).collect();
        let weights = weights_from_gaps(&radians, &mut notes)?;
        let cos = radians.iter().map(|&t| cos(t)).collect();
        let sin = radians.iter().map(|&t| sin(t)).collect();
        Ok(Angles { radians, cos, sin, weights, unit, notes })
    }

    /// `n` equal steps over half a turn, the end excluded: θ_i = i π / n.
    pub fn half_turn(n: usize) -> Result<Angles> {
        let values: Vec<f64> = (0..n).map(|i| i as f64 * PI / n as f64).collect();
        Angles::new(&values, Some(AngleUnit::Radian))
    }

    /// An error unless there is one angle per projection.
    pub fn check_count(&self, projections: usize) -> Result<()> {
        if self.len() == projections {
            return Ok(());
        }
        Err(Error::data(format!("{} angles for {projections} projections", self.len()))
            .help("give one angle per projection, flats and darks left out, with --theta FILE"))
    }

    /// Number of projections.
    pub fn len(&self) -> usize {
        self.radians.len()
    }
    /// Never true: an `Angles` holds at least two.
    pub fn is_empty(&self) -> bool {
        self.radians.is_empty()
    }
    /// The angles in radians, as given (not reduced to one turn).
    pub fn radians(&self) -> &[f64] {
        &self.radians
    }
    /// cos θ_i.
    pub fn cosines(&self) -> &[f64] {
        &self.cos
    }
    /// sin θ_i.
    pub fn sines(&self) -> &[f64] {
        &self.sin
    }
    /// w_i in radians; see the [module](self).
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }
    /// The unit that the values were read in.
    pub fn unit(&self) -> AngleUnit {
        self.unit
    }
    /// What a reader of the result should know: an inferred unit, holes in the angles.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// The unit to read a span of angles in.
fn settle_unit(span: f64, unit: Option<AngleUnit>, notes: &mut Vec<String>) -> Result<AngleUnit> {
    match unit {
        Some(AngleUnit::Degree) if span < MIN_DEGREE_SPAN => Err(Error::usage(format!(
            "the angles are said to be degrees, but they span {span:.4}: they look like radians"
        ))
        .help("say --theta-unit rad if they are radians; fewer than 7 degrees are not a tomogram")),
        Some(AngleUnit::Radian) if span * (180.0 / PI) < MIN_DEGREE_SPAN => Err(Error::usage(format!(
            "the angles are said to be radians, and span {span:.4}: {:.2} degrees",
            span * (180.0 / PI)
        ))
        .help("check --theta-unit and the angles: fewer than 7 degrees are not a tomogram")),
        Some(AngleUnit::Radian) if span > MAX_RADIAN_SPAN => Err(Error::usage(format!(
            "the angles are said to be radians, but they span {span:.4}: they look like degrees"
        ))
        .help("say --theta-unit deg if they are degrees; more than two turns in radians are not read")),
        Some(unit) => Ok(unit),
        None if span > MAX_RADIAN_SPAN => {
            notes.push(format!("angles of unknown unit span {span:.4}: read as degrees"));
            Ok(AngleUnit::Degree)
        }
        None if (MIN_CLEAR_RADIAN_SPAN..MIN_DEGREE_SPAN).contains(&span) => {
            notes.push(format!("angles of unknown unit span {span:.4}: read as radians"));
            Ok(AngleUnit::Radian)
        }
        None => Err(Error::usage(format!("the angles span {span:.4}, and their unit is unknown"))
            .help("say --theta-unit deg or --theta-unit rad")),
    }
}

/// Weights from the gaps on the circle of directions, of period π; see the [module](self).
///
/// The typical gap is the length-weighted median of the gaps, the largest one left out: half of the circle
/// (without that gap) lies in gaps no wider than it. Weighting by length makes it blind to the many tiny gaps
/// of a scan that measures each direction twice, and leaving out the largest makes it blind to one wedge of any size.
fn weights_from_gaps(radians: &[f64], notes: &mut Vec<String>) -> Result<Vec<f64>> {
    let n = radians.len();
    let direction: Vec<f64> = radians.iter().map(|t| t.rem_euclid(PI)).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| direction[a].total_cmp(&direction[b]).then(a.cmp(&b)));

    // gap[i]: from the i-th direction of the order to the next one, round the circle.
    let gap: Vec<f64> = (0..n)
        .map(|i| match i + 1 {
            next if next < n => direction[order[next]] - direction[order[i]],
            _ => direction[order[0]] + PI - direction[order[i]],
        })
        .collect();
    let typical = typical_gap(&gap);
    if typical < 1e-9 {
        return Err(Error::data(format!("all {n} projections are taken from one direction"))
            .help("give the true angles with --theta FILE"));
    }

    // What a gap is held against: the typical gap, or the gaps around it where those are wider.
    let ordinary: Vec<f64> = surrounding_gaps(&gap, SAME_DIRECTION * typical).iter().map(|&g| g.max(typical)).collect();
    let wide: Vec<usize> = (0..n).filter(|&i| gap[i] > WIDE_GAP * ordinary[i]).collect();
    if let Some(&largest) = wide.iter().max_by(|&&a, &&b| gap[a].total_cmp(&gap[b])) {
        let degrees = 180.0 / PI;
        let missing: f64 = wide.iter().map(|&i| gap[i] - ordinary[i]).sum();
        notes.push(format!(
            "{} gap(s) in the angles, {:.3} degrees without data in all, the widest from {:.3} to {:.3} degrees \
             (typical step {:.4}): not filled, so the slices lack what only those directions show",
            wide.len(),
            missing * degrees,
            direction[order[largest]] * degrees,
            (direction[order[largest]] + gap[largest]) * degrees,
            typical * degrees,
        ));
    }

    // Walk the circle from behind a real gap, one group of coinciding directions after the other.
    let counted = |i: usize| if gap[i] > WIDE_GAP * ordinary[i] { ordinary[i] } else { gap[i] };
    let is_same = |i: usize| gap[i] <= SAME_DIRECTION * typical;
    let start = (0..n).find(|&i| !is_same(i)).map_or(0, |i| i + 1);
    let mut weights = vec![0.0; n];
    let mut first = start;
    while first < start + n {
        let mut last = first;
        let mut inside = 0.0;
        while is_same(last % n) && last + 1 < start + n {
            inside += gap[last % n];
            last += 1;
        }
        let cell = 0.5 * counted((first + n - 1) % n) + inside + 0.5 * counted(last % n);
        for i in first..=last {
            weights[order[i % n]] = cell / (last - first + 1) as f64;
        }
        first = last + 1;
    }
    Ok(weights)
}

/// The length-weighted median of all gaps but the largest.
fn typical_gap(gaps: &[f64]) -> f64 {
    let mut sorted = gaps.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.pop();
    let half = 0.5 * sorted.iter().sum::<f64>();
    let mut covered = 0.0;
    for &gap in &sorted {
        covered += gap;
        if covered >= half {
            return gap;
        }
    }
    0.0
}

/// For every gap the third smallest of the four real gaps around it, two on each side, on the circle: a part of the
/// circle that is sampled sparsely throughout is no hole, and a lone view or two in a hole do not make it a sampled part.
/// Gaps of at most `same` are not real; where fewer than five are real, 0.
fn surrounding_gaps(gaps: &[f64], same: f64) -> Vec<f64> {
    let real: Vec<usize> = (0..gaps.len()).filter(|&i| gaps[i] > same).collect();
    let mut around = vec![0.0; gaps.len()];
    let count = real.len();
    if count < 5 {
        return around;
    }
    for (place, &i) in real.iter().enumerate() {
        let mut four = [count - 2, count - 1, 1, 2].map(|step| gaps[real[(place + step) % count]]);
        four.sort_by(f64::total_cmp);
        around[i] = four[2];
    }
    around
}

/// Where the rotation axis lies on the detector: pixel index, first pixel centre = 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Axis {
    /// The same for every detector row.
    Fixed(f64),
    /// One per detector row.
    PerRow(Vec<f64>),
}

impl Axis {
    /// An error unless every axis is finite and lies on a detector of `rows` × `columns` pixels
    /// (from the left edge of the first pixel, −½, to the right edge of the last).
    pub fn check(&self, rows: usize, columns: usize) -> Result<()> {
        let on_detector = |c: f64| c >= -0.5 && c <= columns as f64 - 0.5;
        let advice = "give the axis as a pixel index with --center PIXELS, or let it be found with --center auto";
        match self {
            Axis::Fixed(c) if !on_detector(*c) => {
                Err(Error::usage(format!("the rotation axis at {c} lies outside the detector's {columns} columns"))
                    .help(advice))
            }
            Axis::PerRow(c) if c.len() != rows => {
                Err(Error::data(format!("{} rotation axes for {rows} detector rows", c.len()))
                    .help("give one axis per detector row, or a single number"))
            }
            Axis::PerRow(c) => match c.iter().position(|&c| !on_detector(c)) {
                Some(row) => Err(Error::data(format!(
                    "the rotation axis of row {row}, {}, lies outside the detector's {columns} columns",
                    c[row]
                ))
                .help(advice)),
                None => Ok(()),
            },
            Axis::Fixed(_) => Ok(()),
        }
    }

    /// The axis of a detector row.
    pub fn at(&self, row: usize) -> f64 {
        match self {
            Axis::Fixed(c) => *c,
            Axis::PerRow(c) => c[row],
        }
    }
}

/// The pixel (row, column) of an n × n slice on which the axis lands, X = Y = 0.
///
/// As in TomoPy: column ⌈n/2⌉ and row n − 1 − ⌈n/2⌉; for even n column n/2, row n/2 − 1.
/// A pixel (row, column) has X = column − axis column, Y = axis row − row.
pub fn axis_pixel(n: usize) -> (usize, usize) {
    let column = n.div_ceil(2).min(n - 1);
    (n - 1 - column, column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    fn degrees(values: impl IntoIterator<Item = f64>) -> Angles {
        Angles::new(&values.into_iter().collect::<Vec<_>>(), Some(AngleUnit::Degree)).unwrap()
    }

    fn assert_near(got: &[f64], want: &[f64], tolerance: f64) {
        assert_eq!(got.len(), want.len());
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() <= tolerance, "[{i}]: {g} is not {w}");
        }
    }

    #[test]
    fn equal_steps_weigh_pi_over_n() {
        // Angles up to π carry rounding of 4e-16 each, a gap two of them.
        for n in [2, 3, 16, 181, 1500] {
            let a = Angles::half_turn(n).unwrap();
            assert_near(a.weights(), &vec![PI / n as f64; n], 1e-15);
            assert!(a.notes().is_empty(), "{:?}", a.notes());
        }
    }

    #[test]
    fn any_order_any_whole_turns_and_both_ends_weigh_pi_in_all() {
        let total = |a: &Angles| a.weights().iter().sum::<f64>();
        // Both ends of half a turn share the cell of direction 0.
        let both_ends = degrees((0..=180).map(f64::from));
        assert!((total(&both_ends) - PI).abs() < 1e-13);
        assert_near(&[both_ends.weights()[0], both_ends.weights()[180]], &[PI / 360.0; 2], 1e-15);
        assert_near(&both_ends.weights()[1..180], &[PI / 180.0; 179], 1e-14);
        // A full turn with an even count pairs modulo π, with an odd count it interleaves.
        for n in [360, 361, 1000] {
            let turn = degrees((0..n).map(|i| 360.0 * f64::from(i) / f64::from(n)));
            assert_near(turn.weights(), &vec![PI / f64::from(n); n as usize], 1e-13);
            assert!(turn.notes().is_empty());
        }
        // Three turns whose repeats differ by what f32 leaves.
        let turns = degrees((0..1080).map(|i| f64::from(0.5f32 + i as f32)));
        assert!((total(&turns) - PI).abs() < 1e-12 && turns.notes().is_empty());
        // Shuffled and negative angles keep their weights.
        let shuffled = degrees((0..181).map(|i| f64::from(i * 38 % 181 - 90) * 180.0 / 181.0));
        assert_near(shuffled.weights(), &[PI / 181.0; 181], 1e-14);
    }

    #[test]
    fn a_sparse_part_is_no_hole_and_a_lone_view_does_not_fill_one() {
        // Half of the circle in steps of 0.2 degrees, half in steps of 1: every view weighs what it covers.
        let angles = degrees((0..450).map(|i| 0.2 * f64::from(i)).chain((90..180).map(f64::from)));
        assert!(angles.notes().is_empty(), "{:?}", angles.notes());
        assert!((angles.weights()[100] - 0.2 * PI / 180.0).abs() < 1e-12);
        assert!((angles.weights()[500] - PI / 180.0).abs() < 1e-12);
        assert!((angles.weights().iter().sum::<f64>() - PI).abs() < 1e-12);
        // Steps of 1 degree, 40 degrees missing but for one view in their middle.
        let angles = degrees((0..180).filter(|i| !(70..110).contains(i) || *i == 90).map(f64::from));
        assert_eq!(angles.notes().len(), 1);
        assert!(angles.weights().iter().all(|&w| (w - PI / 180.0).abs() < 1e-12));
    }

    #[test]
    fn repeats_with_jitter_do_not_look_like_holes() {
        let jitter = |i: i32| 1e-4 * f64::from(i * 7919 % 13 - 6);
        let a = degrees((0..720).map(|i| 0.5 * f64::from(i) + jitter(i)));
        assert!(a.notes().is_empty(), "{:?}", a.notes());
        assert!((a.weights().iter().sum::<f64>() - PI).abs() < 1e-13);
        let mean = PI / 720.0;
        assert!(a.weights().iter().all(|w| (w / mean - 1.0).abs() < 0.01));
    }

    #[test]
    fn a_dropped_view_is_shared_by_its_neighbours_and_a_wedge_is_not_filled() {
        let step = PI / 180.0;
        let dropped = degrees((0..180).filter(|&i| i != 90).map(f64::from));
        assert!((dropped.weights().iter().sum::<f64>() - PI).abs() < 1e-13 && dropped.notes().is_empty());
        assert_near(&dropped.weights()[88..92], &[step, 1.5 * step, 1.5 * step, step], 1e-13);

        // Every direction from 60 (exclusive) to 120 (exclusive) is missing: 61 steps wide, counted as one.
        let wedge = degrees((0..180).filter(|&i| !(60..120).contains(&i)).map(f64::from));
        assert_near(wedge.weights(), &[step; 120], 1e-13);
        assert_eq!(wedge.notes().len(), 1);
        let note = &wedge.notes()[0];
        assert!(note.contains("60.000 degrees without data") && note.contains("from 59.000 to 120.000"), "{note}");

        // A wedge larger than half of the circle.
        let narrow = degrees((0..41).map(f64::from));
        assert_near(narrow.weights(), &[step; 41], 1e-13);
        assert!(narrow.notes()[0].contains("139.000 degrees without data"), "{:?}", narrow.notes());
    }

    #[test]
    fn units_are_settled_or_refused() {
        let ramp = |span: f64| -> Vec<f64> { (0..=100).map(|i| span * f64::from(i) / 100.0).collect() };
        let fault = |span, unit| Angles::new(&ramp(span), unit).unwrap_err().fault();
        let (deg, rad) = (Some(AngleUnit::Degree), Some(AngleUnit::Radian));
        assert_eq!(fault(PI, deg), Fault::Usage);
        assert_eq!(fault(2.0 * PI, deg), Fault::Usage);
        assert_eq!(fault(180.0, rad), Fault::Usage);
        assert_eq!(fault(1.0, None), Fault::Usage);
        assert_eq!(fault(10.0, None), Fault::Usage);
        assert!(Angles::new(&ramp(180.0), rad).unwrap_err().to_string().contains("--theta-unit deg"));
        assert!(Angles::new(&ramp(PI), deg).unwrap_err().to_string().contains("--theta-unit rad"));
        for (span, unit, settled) in [
            (180.0, deg, AngleUnit::Degree),
            (12.0, deg, AngleUnit::Degree),
            (PI, rad, AngleUnit::Radian),
            (4.0 * PI, rad, AngleUnit::Radian),
            (1.0, rad, AngleUnit::Radian),
        ] {
            let a = Angles::new(&ramp(span), unit).unwrap();
            assert_eq!((a.unit(), a.notes().iter().any(|n| n.contains("unknown unit"))), (settled, false));
        }
        for (span, settled) in [(PI, AngleUnit::Radian), (6.27, AngleUnit::Radian), (180.0, AngleUnit::Degree)] {
            let a = Angles::new(&ramp(span), None).unwrap();
            assert_eq!((a.unit(), a.notes()[0].contains("unknown unit")), (settled, true));
        }
        let same = Angles::new(&ramp(180.0), deg).unwrap();
        assert!((same.radians()[50] - PI / 2.0).abs() < 1e-15 && same.cosines()[50].abs() < 1e-15);
        assert_eq!((same.sines()[50], same.cosines()[0]), (1.0, 1.0));
    }

    #[test]
    fn nonsense_is_refused() {
        let fault = |values: &[f64]| Angles::new(values, Some(AngleUnit::Degree)).unwrap_err().fault();
        assert_eq!(fault(&[]), Fault::Data);
        assert_eq!(fault(&[1.0]), Fault::Data);
        assert_eq!(fault(&[0.0, f64::NAN, 180.0]), Fault::Data);
        assert_eq!(fault(&[0.0, f64::INFINITY]), Fault::Data);
        assert_eq!(fault(&[0.0, 180.0, 360.0]), Fault::Data);
        assert_eq!(fault(&[0.0, 90.0, 1e12]), Fault::Data);
        let a = Angles::half_turn(10).unwrap();
        assert!(a.check_count(10).is_ok());
        assert_eq!(a.check_count(11).unwrap_err().fault(), Fault::Data);
    }

    #[test]
    fn the_axis_must_lie_on_the_detector() {
        assert!(Axis::Fixed(295.0).check(2, 640).is_ok());
        for c in [-0.6, 639.6, f64::NAN, f64::INFINITY] {
            assert_eq!(Axis::Fixed(c).check(2, 640).unwrap_err().fault(), Fault::Usage, "{c}");
            assert_eq!(Axis::PerRow(vec![3.0, c]).check(2, 640).unwrap_err().fault(), Fault::Data, "{c}");
        }
        assert!(Axis::PerRow(vec![1.0]).check(2, 640).is_err());
        assert_eq!(Axis::PerRow(vec![1.0, 2.0]).at(1), 2.0);
    }

    #[test]
    fn the_axis_lands_where_tomopy_puts_it() {
        // TomoPy: off = M/2 − (M − n)/2 with integer division, column = X + off, row = n − 1 − off − Y.
        for n in 2..40usize {
            let m = 64;
            let off = m / 2 - (m - n) / 2;
            assert_eq!(axis_pixel(n), (n - 1 - off, off));
        }
        assert_eq!(axis_pixel(640), (319, 320));
        assert_eq!(axis_pixel(1), (0, 0));
    }
}
