//! Drawings of lines, areas, marks, text and images: one list of shapes, as SVG and as PNG.
//!
//! ```text
//! PNG   α = clamp(w/2 + ½ − d, 0, 1)    of a line of width w pixels at the distance d of a pixel's middle; of an area the part of
//!                                       16 places of a pixel inside of it; text is that of `exchange::font`
//! ```

use super::escape;
use super::map::base64;
use crate::error::Result;
use crate::exchange::font;
use crate::exchange::png::encode_rgb8;
use std::fmt::Write as _;

/// Pixels of a picture for each unit of a drawing: 300 dots per inch where a drawing of 640 is 6.4 inches wide.
pub const SCALE: usize = 3;
/// How texts and images look; in a file of its own, too.
pub const STYLE: &str = "svg{font:11px system-ui,sans-serif}image{image-rendering:pixelated}";
/// Places of a pixel along each axis at which an area is looked at.
const PLACES: usize = 4;
/// Text.
const INK: [u8; 3] = [34; 3];

/// Which part of a text is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
    /// Its middle, and it is read from below.
    Upright,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    /// Red, green, blue.
    pub colour: [u8; 3],
    /// Units.
    pub width: f64,
    /// Lengths that are drawn and left out in turn; none where it goes through.
    pub dash: &'static [f64],
    /// 0 to 1.
    pub opacity: f64,
}

impl Stroke {
    /// One that goes through.
    pub const fn plain(grey: u8, width: f64) -> Stroke {
        Stroke { colour: [grey; 3], width, dash: &[], opacity: 1.0 }
    }
}

/// A part of a drawing.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Places that are joined.
    Line(Vec<[f64; 2]>, Stroke),
    /// What a closed line holds.
    Area(Vec<[f64; 2]>, [u8; 3]),
    /// A mark: circle, square, triangle, diamond in turn; with what it says when one points at it.
    Mark(usize, [f64; 2], [u8; 3], String),
    /// Text on its base line.
    Text([f64; 2], Anchor, String),
    /// Pixels in a box: corner, size, pixels of a row, red, green, blue of each.
    Image([f64; 2], [f64; 2], usize, Vec<u8>),
}

/// A drawing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawing {
    /// Units.
    pub width: f64,
    /// Units.
    pub height: f64,
    /// What it is, for who points at it and who cannot see it.
    pub title: String,
    /// Whether it is as wide as this on a page, and not as there is room.
    pub fixed: bool,
    /// From the one below to the one above.
    pub shapes: Vec<Shape>,
}

/// `#rrggbb`.
pub fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Corners of a mark; none of a circle, which is [`RADIUS`] wide.
fn corners(kind: usize, [x, y]: [f64; 2]) -> Vec<[f64; 2]> {
    let around: &[[f64; 2]] = match kind % 4 {
        0 => &[],
        1 => &[[-3.0, -3.0], [3.0, -3.0], [3.0, 3.0], [-3.0, 3.0]],
        2 => &[[0.0, -4.0], [3.6, 2.4], [-3.6, 2.4]],
        _ => &[[0.0, -4.0], [4.0, 0.0], [0.0, 4.0], [-4.0, 0.0]],
    };
    around.iter().map(|[u, v]| [x + u, y + v]).collect()
}
const RADIUS: f64 = 3.2;

fn places(points: &[[f64; 2]]) -> String {
    points.iter().map(|[x, y]| format!("{x:.1} {y:.1}")).collect::<Vec<_>>().join(" ")
}

impl Shape {
    /// Moves it.
    pub fn move_down(&mut self, by: f64) {
        match self {
            Shape::Line(points, _) | Shape::Area(points, _) => points.iter_mut().for_each(|p| p[1] += by),
            Shape::Mark(_, at, ..) | Shape::Text(at, ..) | Shape::Image(at, ..) => at[1] += by,
        }
    }

    fn svg(&self, s: &mut String) -> Result<()> {
        let _ = match self {
            Shape::Line(points, Stroke { colour, width, dash, opacity }) => {
                let dash: Vec<String> = dash.iter().map(f64::to_string).collect();
                let dash =
                    if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{}\"", dash.join(" ")) };
                let clear = if *opacity < 1.0 { format!(" stroke-opacity=\"{opacity}\"") } else { String::new() };
                let (points, colour) = (places(points), hex(*colour));
                write!(
                    s,
                    "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dash}{clear} points=\"{points}\"/>"
                )
            }
            Shape::Area(points, colour) => write!(s, "<path fill=\"{}\" d=\"M{}z\"/>", hex(*colour), places(points)),
            Shape::Mark(kind, [x, y], colour, title) => {
                let d = match kind % 4 {
                    0 => format!("M{:.1} {y:.1}a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z", x - RADIUS),
                    _ => format!("M{}z", places(&corners(*kind, [*x, *y]))),
                };
                let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) };
                write!(s, "<path fill=\"{}\" d=\"{d}\">{title}</path>", hex(*colour))
            }
            Shape::Text([x, y], anchor, text) => {
                let text = escape(text);
                match anchor {
                    Anchor::Start => write!(s, "<text x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"),
                    Anchor::Middle => write!(s, "<text text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"),
                    Anchor::End => write!(s, "<text text-anchor=\"end\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"),
                    Anchor::Upright => write!(
                        s,
                        "<text text-anchor=\"middle\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{text}</text>"
                    ),
                }
            }
            Shape::Image([x, y], [w, h], width, rgb) => write!(
                s,
                "<image x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h:.1}\" preserveAspectRatio=\"none\" href=\"data:image/png;base64,{}\"/>",
                base64(&encode_rgb8(*width, rgb.len() / 3 / (*width).max(1), rgb)?)
            ),
        };
        Ok(())
    }
}

impl Drawing {
    /// For a page.
    ///
    /// # Errors
    /// An empty image.
    pub fn svg(&self) -> Result<String> {
        let (w, h) = (self.width, self.height);
        let size = if self.fixed { format!(" width=\"{w}\"") } else { String::new() };
        let mut s = format!("<svg viewBox=\"0 0 {w} {h:.1}\"{size} role=\"img\">");
        if !self.title.is_empty() {
            let _ = write!(s, "<title>{}</title>", escape(&self.title));
        }
        self.shapes.iter().try_for_each(|shape| shape.svg(&mut s))?;
        Ok(s + "</svg>")
    }

    /// As files: SVG, and PNG of [`SCALE`] pixels a unit.
    ///
    /// # Errors
    /// An empty image.
    pub fn files(&self, name: &str) -> Result<[(String, Vec<u8>); 2]> {
        let head = format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><style>{STYLE}</style>");
        let (begin, end) = head.split_at("<svg".len() + " xmlns=\"http://www.w3.org/2000/svg\"".len());
        let own = self.svg()?;
        let (attributes, inside) = own["<svg".len()..].split_once('>').unwrap_or_default();
        let svg = format!("{begin}{attributes}{end}{inside}\n");
        Ok([(format!("{name}.svg"), svg.into_bytes()), (format!("{name}.png"), self.png()?)])
    }

    /// As a picture on white.
    ///
    /// # Errors
    /// An empty drawing.
    pub fn png(&self) -> Result<Vec<u8>> {
        let [width, height] = [self.width, self.height].map(|v| (v * SCALE as f64).ceil() as usize);
        let mut canvas = Canvas { width, height, rgb: vec![255; 3 * width * height] };
        self.shapes.iter().for_each(|shape| canvas.draw(shape));
        encode_rgb8(width, height, &canvas.rgb)
    }
}

/// The picture while it is made; places are in pixels.
struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

fn pixels(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    points.iter().map(|p| p.map(|v| v * SCALE as f64)).collect()
}

/// The part of a line from `a` to `b` that is nearest to a place, and its distance.
fn distance(p: [f64; 2], [a, b]: [[f64; 2]; 2]) -> f64 {
    let ([u, v], [x, y]) = ([b[0] - a[0], b[1] - a[1]], [p[0] - a[0], p[1] - a[1]]);
    let length = u * u + v * v;
    let t = if length > 0.0 { ((x * u + y * v) / length).clamp(0.0, 1.0) } else { 0.0 };
    let (dx, dy) = (x - t * u, y - t * v);
    (dx * dx + dy * dy).sqrt()
}

/// Whether a place is inside of a closed line: a ray crosses it an odd number of times.
fn inside([x, y]: [f64; 2], points: &[[f64; 2]]) -> bool {
    let next = points.iter().cycle().skip(1);
    let crosses = |(a, b): (&[f64; 2], &[f64; 2])| {
        (a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
    };
    points.iter().zip(next).filter(|pair| crosses(*pair)).count() % 2 == 1
}

/// The pieces of a line that its dashes leave.
fn dashed(points: &[[f64; 2]], dash: &[f64]) -> Vec<[[f64; 2]; 2]> {
    let pairs = points.windows(2).map(|w| [w[0], w[1]]);
    if dash.is_empty() {
        return pairs.collect();
    }
    let (mut pieces, mut k, mut left) = (Vec::new(), 0, dash[0] * SCALE as f64);
    for [a, b] in pairs {
        let length = distance(b, [a, a]);
        let at = |t: f64| [0, 1].map(|i| a[i] + (b[i] - a[i]) * t / length);
        let mut done = 0.0;
        while done < length {
            let end = (done + left).min(length);
            if k % 2 == 0 {
                pieces.push([at(done), at(end)]);
            }
            left -= end - done;
            done = end;
            if left <= 0.0 {
                k += 1;
                left = dash[k % dash.len()] * SCALE as f64;
            }
        }
    }
    pieces
}

impl Canvas {
    /// Lays a colour over the pixels of a box as far as `part` says of the middle of each.
    fn over(&mut self, [x0, y0, x1, y1]: [f64; 4], colour: [u8; 3], part: &dyn Fn([f64; 2]) -> f64) {
        let range =
            |a: f64, b: f64, n: usize| (a.floor().max(0.0) as usize).min(n)..(b.ceil().max(0.0) as usize).min(n);
        for y in range(y0, y1, self.height) {
            for x in range(x0, x1, self.width) {
                let alpha = part([x as f64 + 0.5, y as f64 + 0.5]);
                let pixel = &mut self.rgb[3 * (y * self.width + x)..][..3];
                for (old, new) in pixel.iter_mut().zip(colour) {
                    *old = (f64::from(*old) * (1.0 - alpha) + f64::from(new) * alpha + 0.5) as u8;
                }
            }
        }
    }

    fn line(&mut self, [a, b]: [[f64; 2]; 2], width: f64, colour: [u8; 3], opacity: f64) {
        let half = 0.5 * width * SCALE as f64;
        let edge = half + 1.0;
        let bounds = [a[0].min(b[0]) - edge, a[1].min(b[1]) - edge, a[0].max(b[0]) + edge, a[1].max(b[1]) + edge];
        self.over(bounds, colour, &|p| opacity * (half + 0.5 - distance(p, [a, b])).clamp(0.0, 1.0));
    }

    fn area(&mut self, points: &[[f64; 2]], colour: [u8; 3]) {
        let end = |i: usize, pick: fn(f64, f64) -> f64| points.iter().map(|p| p[i]).reduce(pick).unwrap_or(0.0);
        let bounds = [end(0, f64::min), end(1, f64::min), end(0, f64::max), end(1, f64::max)];
        let offset = |k: usize| (k as f64 + 0.5) / PLACES as f64 - 0.5;
        let part = |[x, y]: [f64; 2]| {
            let all = (0..PLACES * PLACES).map(|k| [x + offset(k % PLACES), y + offset(k / PLACES)]);
            all.filter(|p| inside(*p, points)).count() as f64 / (PLACES * PLACES) as f64
        };
        self.over(bounds, colour, &part);
    }

    fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let (width, height) = (font::width(text, SCALE), font::HEIGHT * SCALE);
        let mut grey = vec![0u8; width * height];
        font::draw(&mut grey, width.max(1), (0, 0), text, SCALE, 1);
        let before = match anchor {
            Anchor::Start => 0.0,
            Anchor::Middle | Anchor::Upright => 0.5 * width as f64,
            Anchor::End => width as f64,
        };
        let up = |v: usize| v as f64 - height as f64;
        for i in (0..grey.len()).filter(|&i| grey[i] == 1) {
            let (u, v) = (i % width, i / width);
            let along = u as f64 - before;
            let [px, py] = if anchor == Anchor::Upright { [x + up(v), y - along] } else { [x + along, y + up(v)] };
            let [px, py] = [px.floor(), py.floor()];
            self.over([px, py, px + 1.0, py + 1.0], INK, &|_| 1.0);
        }
    }

    fn image(&mut self, [x, y]: [f64; 2], [w, h]: [f64; 2], width: usize, rgb: &[u8]) {
        let height = rgb.len() / 3 / width.max(1);
        for row in 0..(h as usize).min(self.height.saturating_sub(y as usize)) {
            for column in 0..(w as usize).min(self.width.saturating_sub(x as usize)) {
                let from = (row * height / h as usize) * width + column * width / w as usize;
                let to = (y as usize + row) * self.width + x as usize + column;
                self.rgb[3 * to..3 * to + 3].copy_from_slice(&rgb[3 * from..3 * from + 3]);
            }
        }
    }

    fn draw(&mut self, shape: &Shape) {
        let place = |p: &[f64; 2]| p.map(|v| v * SCALE as f64);
        match shape {
            Shape::Line(points, stroke) => {
                let pieces = dashed(&pixels(points), stroke.dash);
                pieces.into_iter().for_each(|piece| self.line(piece, stroke.width, stroke.colour, stroke.opacity));
            }
            Shape::Area(points, colour) => self.area(&pixels(points), *colour),
            Shape::Mark(kind, at, colour, _) => match &corners(*kind, *at)[..] {
                [] => self.line([place(at); 2], 2.0 * RADIUS, *colour, 1.0),
                corners => self.area(&pixels(corners), *colour),
            },
            Shape::Text(at, anchor, text) => self.text(place(at), *anchor, text),
            Shape::Image(at, size, width, rgb) => self.image(place(at), place(size), *width, rgb),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(width: f64, height: f64, shapes: Vec<Shape>) -> Canvas {
        let [w, h] = [width, height].map(|v| v as usize * SCALE);
        let mut canvas = Canvas { width: w, height: h, rgb: vec![255; 3 * w * h] };
        shapes.iter().for_each(|shape| canvas.draw(shape));
        canvas
    }

    /// How much ink is on it, in square units.
    fn ink(canvas: &Canvas) -> f64 {
        canvas.rgb.iter().map(|v| f64::from(255 - v)).sum::<f64>() / 255.0 / 3.0 / (SCALE * SCALE) as f64
    }

    #[test]
    fn shapes_have_the_ink_of_their_areas() {
        let line = |dash| Shape::Line(vec![[5.0, 10.0], [35.0, 10.0]], Stroke { dash, ..Stroke::plain(0, 2.0) });
        let found = [
            // A line of width 2 with round ends.
            (ink(&drawn(40.0, 20.0, vec![line(&[])])), 60.0 + std::f64::consts::PI),
            // Three dashes of 6 in 30, each with its ends.
            (ink(&drawn(40.0, 20.0, vec![line(&[6.0, 6.0])])), 3.0 * (12.0 + std::f64::consts::PI)),
            (ink(&drawn(20.0, 20.0, vec![Shape::Area(vec![[2.0, 2.0], [12.0, 2.0], [2.0, 12.0]], [0; 3])])), 50.0),
            (
                ink(&drawn(20.0, 20.0, vec![Shape::Mark(0, [9.0, 9.0], [0; 3], String::new())])),
                3.2 * 3.2 * std::f64::consts::PI,
            ),
            (ink(&drawn(20.0, 20.0, vec![Shape::Mark(1, [9.0, 9.0], [0; 3], String::new())])), 36.0),
            (ink(&drawn(20.0, 20.0, vec![Shape::Mark(3, [9.0, 9.0], [0; 3], String::new())])), 32.0),
        ];
        for (k, (found, known)) in found.into_iter().enumerate() {
            assert!((found / known - 1.0).abs() < 0.05, "{k}: {found} for {known}");
        }
    }

    #[test]
    fn images_and_texts_are_where_they_should_be() {
        let rgb: Vec<u8> = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]].concat();
        let image = drawn(30.0, 30.0, vec![Shape::Image([10.0, 10.0], [10.0, 10.0], 2, rgb)]);
        let at = |x: usize, y: usize| image.rgb[3 * (y * image.width + x)..][..3].to_vec();
        assert_eq!(
            [at(29, 30), at(30, 30), at(59, 30), at(30, 59)],
            [[255; 3].to_vec(), vec![255, 0, 0], vec![0, 255, 0], vec![0, 0, 255]]
        );
        // A word that is read from below is as long upwards as it is to the right.
        let extent = |anchor| {
            let canvas = drawn(60.0, 60.0, vec![Shape::Text([30.0, 30.0], anchor, "HH".into())]);
            let dark: Vec<usize> = (0..canvas.rgb.len() / 3).filter(|i| canvas.rgb[3 * i] < 128).collect();
            let range = |of: fn(usize, usize) -> usize| {
                let found = dark.iter().map(|i| of(*i, canvas.width));
                [found.clone().min().unwrap(), found.max().unwrap() + 1]
            };
            [range(|i, w| i % w), range(|i, w| i / w)]
        };
        let (w, h) = (font::width("HH", SCALE), font::HEIGHT * SCALE);
        assert_eq!(extent(Anchor::Start), [[90, 90 + w], [90 - h, 90]]);
        assert_eq!(extent(Anchor::End), [[90 - w, 90], [90 - h, 90]]);
        let [[left, right], [top, bottom]] = extent(Anchor::Upright);
        assert_eq!((right - left, bottom - top, right), (h, w, 90));
        assert!(top.abs_diff(90 - w / 2) < 2);
    }

    #[test]
    fn files_hold_what_the_page_shows() {
        let text = Shape::Text([1.0, 9.0], Anchor::Start, "a < b".into());
        let drawing = Drawing { width: 20.0, height: 10.0, shapes: vec![text], ..Drawing::default() };
        let [(svg, bytes), (png, picture)] = drawing.files("x").unwrap();
        assert_eq!((&svg[..], &png[..]), ("x.svg", "x.png"));
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 20 10.0\" role=\"img\"><style>")
        );
        assert!(text.ends_with(">a &lt; b</text></svg>\n") && picture.starts_with(b"\x89PNG"));
    }
}
