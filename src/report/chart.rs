//! A diagram of lines as SVG: axes with round ticks, a band or bar for each 95 % interval, and values that show when one
//! points at them.

use super::{escape, short};
use std::fmt::Write as _;

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
    /// Its colour, as `#rrggbb`.
    pub colour: String,
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
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;
/// Height of a line of the legend; its columns, and fewer where a name is longer than so many letters.
const LEGEND: f64 = 18.0;
const COLUMNS: usize = 3;
const LONG: usize = 24;
/// Ticks on an axis, about.
const TICKS: f64 = 6.0;
/// Dashes of the lines in their order, so that colour alone does not tell them apart.
const DASHES: [&str; 4] = ["", "6 3", "2 3", "8 3 2 3"];

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
    pub fn svg(&self) -> Option<String> {
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
        let height = HEIGHT + rows as f64 * LEGEND;
        let x = |v: f64| LEFT + (v - xs[0]) / (xs[1] - xs[0]) * (WIDTH - LEFT - RIGHT);
        let y = |v: f64| HEIGHT - BOTTOM - (v - ys[0]) / (ys[1] - ys[0]) * (HEIGHT - TOP - BOTTOM);
        let mut s = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", escape(&self.y));
        for t in ticks(ys) {
            let at = y(t);
            let _ = write!(s, "<path class=\"g\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT);
            let _ = write!(s, "<text class=\"e\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", LEFT - 6.0, at + 4.0, short(t));
        }
        for t in ticks(xs) {
            let at = x(t);
            let _ = write!(s, "<path class=\"a\" d=\"M{at:.1} {:.1}v5\"/>", HEIGHT - BOTTOM);
            let _ =
                write!(s, "<text class=\"m\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>", HEIGHT - BOTTOM + 18.0, short(t));
        }
        let _ = write!(s, "<path class=\"a\" d=\"M{LEFT} {TOP}V{:.1}H{:.1}\"/>", HEIGHT - BOTTOM, WIDTH - RIGHT);
        let _ = write!(
            s,
            "<text class=\"m\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            0.5 * (LEFT + WIDTH - RIGHT),
            HEIGHT - 8.0,
            escape(&self.x)
        );
        let middle = 0.5 * (TOP + HEIGHT - BOTTOM);
        let _ = write!(
            s,
            "<text class=\"m\" transform=\"translate(14 {middle:.1}) rotate(-90)\">{}</text>",
            escape(&self.y)
        );
        if let Some((at, what)) = self.mark.as_ref().filter(|(at, _)| (xs[0]..=xs[1]).contains(at)) {
            let _ = write!(s, "<path class=\"t\" d=\"M{0:.1} {TOP}V{1:.1}\"/>", x(*at), HEIGHT - BOTTOM);
            let _ = write!(s, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x(*at) + 4.0, TOP - 1.0, escape(what));
        }
        for (k, line) in self.lines.iter().enumerate() {
            let colour = &line.colour;
            for p in &line.points {
                if let Some([low, high]) = p.interval {
                    let _ = write!(
                        s,
                        "<path stroke=\"{colour}\" stroke-opacity=\".45\" stroke-width=\"4\" d=\"M{:.1} {:.1}V{:.1}\"/>",
                        x(p.x),
                        y(low),
                        y(high)
                    );
                }
            }
            let path: String = line.points.iter().map(|p| format!("{:.1} {:.1} ", x(p.x), y(p.y))).collect();
            if !line.apart {
                let _ = write!(
                    s,
                    "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" stroke-dasharray=\"{}\" points=\"{}\"/>",
                    DASHES[k % DASHES.len()],
                    path.trim_end()
                );
            }
            for p in &line.points {
                let interval =
                    p.interval.map_or(String::new(), |[a, b]| format!(", 95 %: {} to {}", short(a), short(b)));
                let title = format!("{}: {} at {}{interval}", line.name, short(p.y), short(p.x));
                let _ = write!(s, "{}<title>{}</title></path>", marker(k, x(p.x), y(p.y), colour), escape(&title));
            }
            let (row, column) = (k / columns, k % columns);
            let left = LEFT + column as f64 * (WIDTH - LEFT) / columns as f64;
            let top = HEIGHT + row as f64 * LEGEND + 6.0;
            let _ = write!(s, "{}</path>", marker(k, left + 4.0, top, colour));
            let _ = write!(s, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", left + 14.0, top + 4.0, escape(&line.name));
        }
        s += "</svg>";
        Some(s)
    }
}

/// The beginning of a mark: circle, square, triangle, diamond in turn.
fn marker(k: usize, x: f64, y: f64, colour: &str) -> String {
    let d = match k % 4 {
        0 => format!("M{:.1} {y:.1}a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z", x - 3.2),
        1 => format!("M{:.1} {:.1}h6v6h-6z", x - 3.0, y - 3.0),
        2 => format!("M{x:.1} {:.1}l3.6 6.4h-7.2z", y - 4.0),
        _ => format!("M{x:.1} {:.1}l4 4l-4 4l-4 -4z", y - 4.0),
    };
    format!("<path fill=\"{colour}\" d=\"{d}\">")
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
        let line = Line { name: String::new(), colour: "#000000".into(), points, apart: false };
        let svg = Chart { lines: vec![line], equal: true, ..Chart::default() }.svg().unwrap();
        let list = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let p: Vec<f64> = list.split(' ').map(|v| v.parse().unwrap()).collect();
        assert!(((p[4] - p[0]) - 2.0 * (p[1] - p[3])).abs() < 0.3, "{p:?}");
        assert!((p[2] - p[0]) > 50.0);
    }

    #[test]
    fn every_value_is_in_the_picture_once() {
        let points =
            (0..5).map(|k| Point { x: f64::from(k), y: f64::from(k * k), interval: Some([-1.0, 20.0]) }).collect();
        let line = Line { name: "a < b".into(), colour: "#000000".into(), points, apart: false };
        let mark = Some((2.0, "turn".into()));
        let chart = Chart { x: "minutes".into(), y: "um".into(), lines: vec![line], mark, equal: false };
        let svg = chart.svg().unwrap();
        assert_eq!(svg.matches("<title>").count(), 5);
        assert!(svg.contains("a &lt; b: 16 at 4, 95 %: -1 to 20") && svg.contains("turn"));
        assert_eq!(svg.matches("<path").count(), svg.matches("/>").count() - 1 + svg.matches("</path>").count());
        assert!(Chart::default().svg().is_none());
        // Points by themselves are not joined.
        let apart = Line { apart: true, ..chart.lines[0].clone() };
        assert!(svg.contains("<polyline"));
        assert!(!Chart { lines: vec![apart], ..chart.clone() }.svg().unwrap().contains("<polyline"));
        // One value alone has a scale, too.
        let one = Line { points: vec![Point { x: 1.0, y: 0.0, interval: None }], ..chart.lines[0].clone() };
        assert!(!Chart { lines: vec![one], ..chart }.svg().unwrap().contains("NaN"));
    }
}
