//! L7. Numbers become one page that can be read without anything else.
//!
//! | file | what |
//! |---|---|
//! | [`figures`] | which figure shows which numbers, and where each panel of the paper is |
//! | [`choice`] | which of them a page has |
//! | [`draw`] | drawings as SVG and as PNG |
//! | [`chart`] | a diagram of lines |
//! | [`diagrams`] | the diagrams of a page; all figures as files |
//! | [`map`] | a map in colours, with its scale |
//! | [`pictures`] | pictures and maps of a page |
//! | [`sections`] | sections of grey volumes, and classes over them |
//! | [`quality`] | how good the segmentation is |
//! | [`page`] | the page |
//!
//! The page holds what `results.json` and the maps hold: values, and not where, when or how fast they were made. Made
//! again from the same numbers it has the same bytes. It needs no network, no script and no other file.

pub mod chart;
pub mod choice;
pub mod diagrams;
pub mod draw;
pub mod figures;
pub mod map;
pub mod page;
pub mod pictures;
pub mod quality;
pub mod sections;

/// Text inside of HTML and SVG.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}

/// A number for people: four digits that mean something.
pub fn short(v: f64) -> String {
    let a = v.abs();
    if v == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&a) {
        let text = format!("{v:.3e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
    } else {
        let (mut digits, mut limit) = (3usize, 10.0);
        while a >= limit && digits > 0 {
            digits -= 1;
            limit *= 10.0;
        }
        let more = if a < 0.01 {
            3
        } else if a < 0.1 {
            2
        } else {
            usize::from(a < 1.0)
        };
        let text = format!("{v:.*}", digits + more);
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_text_is_harmless() {
        for (v, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-12.3456, "-12.35"),
            (123_456.7, "123457"),
            (0.012_345_6, "0.01235"),
            (0.5, "0.5"),
            (1.234e-7, "1.234e-7"),
            (2.5e9, "2.5e9"),
        ] {
            assert_eq!(short(v), text);
        }
        assert_eq!(escape("<a href=\"&\">"), "&lt;a href=&quot;&amp;&quot;&gt;");
    }
}
