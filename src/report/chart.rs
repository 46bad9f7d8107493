//! A diagram of lines: axes with round ticks, a band or bar for each 95 % interval, and values that show when one
//! points at them.

use super::draw::{Anchor, Drawing, Shape, Stroke};
use super::short;

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Place along x.
    pub x: f64,
    /// Value.
    pub y: f64,
    /// 95 %.
    pub interval: Option<[f64; 2]>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its colour: red, green, blue.
    pub colour: [u8; 3],
    /// Its points, in the order of x.
    pub points: Vec<Point>,
    /// Points by themselves: nothing lies between them.
    pub apart: bool,
}

/// A diagram.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Label of x.
    pub x: String,
    /// Label of y.
    pub y: String,
    /// Lines.
    pub lines: Vec<Line>,
    /// A place along x that is marked, with what it is.
    pub mark: Option<(f64, String)>,
    /// Whether a unit is as long along x as along y.
    pub equal: bool,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;
/// Height of a line of the legend; its columns, and fewer where a name is longer than so many letters.
const LEGEND: f64 = 18.0;
const COLUMNS: usize = 3;
const LONG: usize = 24;
/// Ticks on an axis, about.
const TICKS: f64 = 6.0;
/// Dashes of the lines in their order, so that colour alone does not tell them apart.
const DASHES: [&[f64]; 4] = [&[], &[6.0, 3.0], &[2.0, 3.0], &[8.0, 3.0, 2.0, 3.0]];
/// Lines of the grid, axes, what is marked along x.
const GRID: Stroke = Stroke::plain(228, 1.0);
const AXIS: Stroke = Stroke::plain(68, 1.0);
const MARK: Stroke = Stroke { dash: &[4.0, 3.0], ..Stroke::plain(136, 1.0) };

/// A round step with which a range has about [`TICKS`] ticks: 1, 2 or 5 times a power of ten.
fn step(range: f64) -> f64 {
    let rough = range / TICKS;
    let mut power = 1.0;
    while power > rough {
        power /= 10.0;
    }
    while 10.0 * power <= rough {
        power *= 10.0;
    }
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= rough).unwrap_or(10.0 * power)
}

/// Ticks within a range.
fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let step = step(high - low);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|k| k as f64 * step).collect()
}

/// Least and greatest, a little apart.
fn range(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let [low, high] = values.fold([f64::MAX, f64::MIN], |[low, high], v| [low.min(v), high.max(v)]);
    // A range that cannot be divided has no ticks.
    if low > high || !(high - low).is_finite() || (high > low && (high - low) < 1e-200) {
        return None;
    }
    let margin = if high > low { 0.04 * (high - low) } else { low.abs().max(1.0) * 0.5 };
    Some([low - margin, high + margin])
}

impl Chart {
    /// The picture; none without a value.
    pub fn drawing(&self) -> Option<Drawing> {
        let points = || self.lines.iter().flat_map(|l| &l.points);
        let mut xs = range(points().map(|p| p.x))?;
        let mut ys =
            range(points().flat_map(|p| [p.y, p.interval.map_or(p.y, |i| i[0]), p.interval.map_or(p.y, |i| i[1])]))?;
        // A scale that begins near zero begins at zero.
        if ys[0] > 0.0 && ys[0] < 0.3 * ys[1] {
            ys[0] = 0.0;
        }
        if self.equal {
            // The shorter one is continued on both sides.
            let unit = |[low, high]: [f64; 2], length: f64| (high - low) / length;
            let (wide, tall) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
            let most = unit(xs, wide).max(unit(ys, tall));
            for (axis, length) in [(&mut xs, wide), (&mut ys, tall)] {
                let more = 0.5 * (most * length - (axis[1] - axis[0]));
                *axis = [axis[0] - more, axis[1] + more];
            }
        }
        let columns = if self.lines.iter().any(|l| l.name.len() > LONG) { COLUMNS - 1 } else { COLUMNS };
        let rows = self.lines.len().div_ceil(columns);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let x = |v: f64| LEFT + (v - xs[0]) / (xs[1] - xs[0]) * (right - LEFT);
        let y = |v: f64| bottom - (v - ys[0]) / (ys[1] - ys[0]) * (bottom - TOP);
        let mut shapes = Vec::new();
        for t in ticks(ys) {
            shapes.push(Shape::Line(vec![[LEFT, y(t)], [right, y(t)]], GRID));
            shapes.push(Shape::Text([LEFT - 6.0, y(t) + 4.0], Anchor::End, short(t)));
        }
        for t in ticks(xs) {
            shapes.push(Shape::Line(vec![[x(t), bottom], [x(t), bottom + 5.0]], AXIS));
            shapes.push(Shape::Text([x(t), bottom + 18.0], Anchor::Middle, short(t)));
        }
        shapes.push(Shape::Line(vec![[LEFT, TOP], [LEFT, bottom], [right, bottom]], AXIS));
        shapes.push(Shape::Text([0.5 * (LEFT + right), HEIGHT - 8.0], Anchor::Middle, self.x.clone()));
        shapes.push(Shape::Text([14.0, 0.5 * (TOP + bottom)], Anchor::Upright, self.y.clone()));
        if let Some((at, what)) = self.mark.as_ref().filter(|(at, _)| (xs[0]..=xs[1]).contains(at)) {
            shapes.push(Shape::Line(vec![[x(*at), TOP], [x(*at), bottom]], MARK));
            shapes.push(Shape::Text([x(*at), TOP - 3.0], Anchor::Middle, what.clone()));
        }
        for (k, line) in self.lines.iter().enumerate() {
            let own = Stroke { colour: line.colour, width: 1.6, dash: DASHES[k % DASHES.len()], opacity: 1.0 };
            let bar = Stroke { width: 4.0, dash: &[], opacity: 0.45, ..own };
            for (p, [low, high]) in line.points.iter().filter_map(|p| Some((p, p.interval?))) {
                shapes.push(Shape::Line(vec![[x(p.x), y(low)], [x(p.x), y(high)]], bar));
            }
            if !line.apart {
                shapes.push(Shape::Line(line.points.iter().map(|p| [x(p.x), y(p.y)]).collect(), own));
            }
            for p in &line.points {
                let interval =
                    p.interval.map_or(String::new(), |[a, b]| format!(", 95 %: {} to {}", short(a), short(b)));
                let title = format!("{}: {} at {}{interval}", line.name, short(p.y), short(p.x));
                shapes.push(Shape::Mark(k, [x(p.x), y(p.y)], line.colour, title));
            }
            let (row, column) = (k / columns, k % columns);
            let left = LEFT + column as f64 * (WIDTH - LEFT) / columns as f64;
            let top = HEIGHT + row as f64 * LEGEND + 6.0;
            shapes.push(Shape::Mark(k, [left + 4.0, top], line.colour, String::new()));
            shapes.push(Shape::Text([left + 14.0, top + 4.0], Anchor::Start, line.name.clone()));
        }
        let height = HEIGHT + rows as f64 * LEGEND;
        Some(Drawing { width: WIDTH, height, title: String::new(), fixed: false, shapes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks([0.0, 10.0]), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(step(0.6), 0.1);
        assert_eq!(step(1.3e9), 5e8);
        let found = ticks([-0.37, 0.41]);
        assert!(found.len() > 3 && found.iter().all(|t| (-0.37..=0.41).contains(t)), "{found:?}");
    }

    /// A half circle over its diameter is as high as half of it is long.
    #[test]
    fn equal_axes_keep_angles() {
        let at = |x: f64, y: f64| Point { x, y, interval: None };
        let points = vec![at(0.0, 0.0), at(10.0, 10.0), at(20.0, 0.0)];
        let line = Line { name: String::new(), colour: [0; 3], points, apart: false };
        let drawing = Chart { lines: vec![line], equal: true, ..Chart::default() }.drawing().unwrap();
        let mut lines = drawing.shapes.iter().filter_map(|s| if let Shape::Line(p, _) = s { Some(p) } else { None });
        let p = lines.next_back().unwrap().concat();
        assert!(((p[4] - p[0]) - 2.0 * (p[1] - p[3])).abs() < 0.3, "{p:?}");
        assert!((p[2] - p[0]) > 50.0);
    }

    #[test]
    fn every_value_is_in_the_picture_once() {
        let points =
            (0..5).map(|k| Point { x: f64::from(k), y: f64::from(k * k), interval: Some([-1.0, 20.0]) }).collect();
        let line = Line { name: "a < b".into(), colour: [0; 3], points, apart: false };
        let mark = Some((2.0, "turn".into()));
        let chart = Chart { x: "minutes".into(), y: "um".into(), lines: vec![line], mark, equal: false };
        let svg = chart.drawing().unwrap().svg().unwrap();
        assert_eq!(svg.matches("<title>").count(), 5);
        assert!(svg.contains("a &lt; b: 16 at 4, 95 %: -1 to 20") && svg.contains("turn"));
        assert_eq!(svg.matches("<path").count(), 5 + 1);
        assert!(Chart::default().drawing().is_none());
        // Points by themselves are not joined.
        let apart = Line { apart: true, ..chart.lines[0].clone() };
        let joined = |chart: &Chart| chart.drawing().unwrap().svg().unwrap().matches("stroke-width=\"1.6\"").count();
        assert_eq!((joined(&chart), joined(&Chart { lines: vec![apart], ..chart.clone() })), (1, 0));
        // One value alone has a scale, too.
        let one = Line { points: vec![Point { x: 1.0, y: 0.0, interval: None }], ..chart.lines[0].clone() };
        assert!(!Chart { lines: vec![one], ..chart }.drawing().unwrap().svg().unwrap().contains("NaN"));
    }
}
