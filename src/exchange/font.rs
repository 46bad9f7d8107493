//! Labels in grey pictures: capitals, digits and a few signs, 5 × 7 pixels, as old displays drew them.
//!
//! Small letters are drawn as capitals; a character that the font lacks is drawn as a box.

/// Width of a character without the gap behind it.
const WIDTH: usize = 5;
/// Width of a character with the gap behind it.
const ADVANCE: usize = WIDTH + 1;
/// Height of a label at scale 1, in pixels.
pub const HEIGHT: usize = 7;

/// The characters, each with its columns from left to right; bit 0 of a column is its top pixel.
const GLYPHS: [(char, [u8; WIDTH]); 48] = [
    (' ', [0x00, 0x00, 0x00, 0x00, 0x00]),
    ('%', [0x23, 0x13, 0x08, 0x64, 0x62]),
    ('(', [0x00, 0x1C, 0x22, 0x41, 0x00]),
    (')', [0x00, 0x41, 0x22, 0x1C, 0x00]),
    ('+', [0x08, 0x08, 0x3E, 0x08, 0x08]),
    (',', [0x00, 0x50, 0x30, 0x00, 0x00]),
    ('-', [0x08, 0x08, 0x08, 0x08, 0x08]),
    ('.', [0x00, 0x60, 0x60, 0x00, 0x00]),
    ('/', [0x20, 0x10, 0x08, 0x04, 0x02]),
    ('0', [0x3E, 0x51, 0x49, 0x45, 0x3E]),
    ('1', [0x00, 0x42, 0x7F, 0x40, 0x00]),
    ('2', [0x42, 0x61, 0x51, 0x49, 0x46]),
    ('3', [0x21, 0x41, 0x45, 0x4B, 0x31]),
    ('4', [0x18, 0x14, 0x12, 0x7F, 0x10]),
    ('5', [0x27, 0x45, 0x45, 0x45, 0x39]),
    ('6', [0x3C, 0x4A, 0x49, 0x49, 0x30]),
    ('7', [0x01, 0x71, 0x09, 0x05, 0x03]),
    ('8', [0x36, 0x49, 0x49, 0x49, 0x36]),
    ('9', [0x06, 0x49, 0x49, 0x29, 0x1E]),
    (':', [0x00, 0x36, 0x36, 0x00, 0x00]),
    ('=', [0x14, 0x14, 0x14, 0x14, 0x14]),
    ('A', [0x7E, 0x11, 0x11, 0x11, 0x7E]),
    ('B', [0x7F, 0x49, 0x49, 0x49, 0x36]),
    ('C', [0x3E, 0x41, 0x41, 0x41, 0x22]),
    ('D', [0x7F, 0x41, 0x41, 0x22, 0x1C]),
    ('E', [0x7F, 0x49, 0x49, 0x49, 0x41]),
    ('F', [0x7F, 0x09, 0x09, 0x09, 0x01]),
    ('G', [0x3E, 0x41, 0x49, 0x49, 0x7A]),
    ('H', [0x7F, 0x08, 0x08, 0x08, 0x7F]),
    ('I', [0x00, 0x41, 0x7F, 0x41, 0x00]),
    ('J', [0x20, 0x40, 0x41, 0x3F, 0x01]),
    ('K', [0x7F, 0x08, 0x14, 0x22, 0x41]),
    ('L', [0x7F, 0x40, 0x40, 0x40, 0x40]),
    ('M', [0x7F, 0x02, 0x0C, 0x02, 0x7F]),
    ('N', [0x7F, 0x04, 0x08, 0x10, 0x7F]),
    ('O', [0x3E, 0x41, 0x41, 0x41, 0x3E]),
    ('P', [0x7F, 0x09, 0x09, 0x09, 0x06]),
    ('Q', [0x3E, 0x41, 0x51, 0x21, 0x5E]),
    ('R', [0x7F, 0x09, 0x19, 0x29, 0x46]),
    ('S', [0x46, 0x49, 0x49, 0x49, 0x31]),
    ('T', [0x01, 0x01, 0x7F, 0x01, 0x01]),
    ('U', [0x3F, 0x40, 0x40, 0x40, 0x3F]),
    ('V', [0x1F, 0x20, 0x40, 0x20, 0x1F]),
    ('W', [0x3F, 0x40, 0x38, 0x40, 0x3F]),
    ('X', [0x63, 0x14, 0x08, 0x14, 0x63]),
    ('Y', [0x07, 0x08, 0x70, 0x08, 0x07]),
    ('Z', [0x61, 0x51, 0x49, 0x45, 0x43]),
    ('_', [0x40, 0x40, 0x40, 0x40, 0x40]),
];

/// What stands for a character that the font lacks.
const BOX: [u8; WIDTH] = [0x7F, 0x41, 0x41, 0x41, 0x7F];

/// Width of a label in pixels; its height is [`HEIGHT`] `· scale`.
pub fn width(text: &str, scale: usize) -> usize {
    (text.chars().count() * ADVANCE).saturating_sub(1) * scale
}

/// Draws `text` with its upper left corner at (`x`, `y`) into a grey picture `[row][column]` of the given width.
/// Each pixel of the font becomes a square of `scale` pixels of this `grey`; what lies outside the picture is not
/// drawn.
pub fn draw(pixels: &mut [u8], picture_width: usize, (x, y): (usize, usize), text: &str, scale: usize, grey: u8) {
    for (i, c) in text.chars().enumerate() {
        let columns = GLYPHS.iter().find(|(g, _)| *g == c.to_ascii_uppercase()).map_or(BOX, |(_, columns)| *columns);
        for (u, column) in columns.into_iter().enumerate() {
            for v in (0..HEIGHT).filter(|v| column >> v & 1 == 1) {
                let (left, top) = (x + (i * ADVANCE + u) * scale, y + v * scale);
                for row in top..top + scale {
                    let (from, to) = (left.min(picture_width), (left + scale).min(picture_width));
                    if let Some(run) = pixels.get_mut(row * picture_width + from..row * picture_width + to) {
                        run.fill(grey);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pixels: &[u8], width: usize) -> Vec<String> {
        pixels.chunks(width).map(|r| r.iter().map(|&p| if p == 0 { '.' } else { '#' }).collect()).collect()
    }

    #[test]
    fn a_label_looks_like_its_text() {
        let w = width("1f?", 1);
        let mut pixels = vec![0; w * HEIGHT];
        draw(&mut pixels, w, (0, 0), "1f?", 1, 255);
        let expected = [
            "..#...#####.#####",
            ".##...#.....#...#",
            "..#...#.....#...#",
            "..#...####..#...#",
            "..#...#.....#...#",
            "..#...#.....#...#",
            ".###..#.....#####",
        ];
        assert_eq!(rows(&pixels, w), expected);
    }

    #[test]
    fn labels_are_scaled_and_clipped() {
        let mut pixels = vec![0; 12 * 8];
        draw(&mut pixels, 12, (0, 1), "-", 2, 9);
        assert_eq!(rows(&pixels, 12)[7], "##########..");
        let mut pixels = vec![0; 3 * 7];
        draw(&mut pixels, 3, (1, 0), "LL", 1, 9);
        assert_eq!(rows(&pixels, 3)[6], ".##");
        draw(&mut pixels, 3, (100, 100), "L", 3, 9);
        assert_eq!(width("", 3), 0);
    }
}
