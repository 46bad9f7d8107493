//! The header of a `.npy` file: a Python dictionary of three entries, parsed by hand.
//!
//! The grammar, with blanks (space, tab, newline) allowed between the tokens:
//!
//! ```text
//! header = "{" entry { "," entry } [ "," ] "}"
//! entry  = "'descr'" ":" string | "'fortran_order'" ":" ( "True" | "False" ) | "'shape'" ":" shape
//! shape  = "(" [ integer { "," integer } [ "," ] ] ")"        one integer needs its comma
//! string = "'" characters "'" | '"' characters '"'            without escapes
//! ```
//!
//! Each entry stands exactly once.

use super::number::{Kind, Number};
use crate::error::{Error, Result};
use crate::volume::Dtype;

/// Bytes that are enough to find the header: magic, version, length.
pub(super) const PREFIX: usize = 12;

/// The magic of the format.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that is parsed. NumPy's own are about 120 bytes.
const MAX_HEADER: u64 = 64 * 1024;

/// Most axes that NumPy allows.
const MAX_AXES: usize = 64;

/// NumPy aligns the elements to this.
const ALIGNMENT: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: Number,
    pub(super) shape: Vec<usize>,
}

impl Header {
    /// Length of the elements.
    pub(super) fn bytes(&self) -> Result<u64> {
        self.shape
            .iter()
            .try_fold(self.number.size(), |n, &extent| n.checked_mul(extent))
            .filter(|&n| n <= isize::MAX as usize)
            .map(|n| n as u64)
            .ok_or_else(|| Error::data(format!("an array of shape {:?} is too large to address", self.shape)))
    }
}

/// Start and length of the header's text, from the first [`PREFIX`] bytes of the file (fewer if it has fewer).
pub(super) fn extent(prefix: &[u8]) -> Result<(u64, u64)> {
    let short = || Error::data("truncated: the file ends within the header").help("copy or save the file again");
    if !prefix.starts_with(MAGIC) {
        return Err(Error::data("is not a .npy file: its first bytes are not \\x93NUMPY")
            .help("save the array with numpy.save"));
    }
    let version = prefix.get(6..8).ok_or_else(short)?;
    let (start, length) = match version {
        [1, 0] => (10, prefix.get(8..10).ok_or_else(short)?.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))),
        [2 | 3, 0] => (12, prefix.get(8..12).ok_or_else(short)?.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))),
        _ => {
            return Err(Error::data(format!("version {}.{} of the .npy format is not known", version[0], version[1]))
                .help("save the array with numpy.save"));
        }
    };
    if length > MAX_HEADER {
        return Err(Error::data(format!("its header claims {length} bytes; at most {MAX_HEADER} are read"))
            .help("save a plain array of numbers, without named fields"));
    }
    Ok((start, length))
}

/// Parses the header's text.
pub(super) fn parse(text: &[u8]) -> Result<Header> {
    let text = std::str::from_utf8(text).map_err(|_| bad("it is not UTF-8"))?;
    let mut rest = Tokens { text, at: 0 };
    let (mut number, mut fortran, mut shape) = (None, None, None);
    rest.expect("{")?;
    while !rest.take("}") {
        let key = rest.string()?;
        rest.expect(":")?;
        let twice = match key {
            "descr" => number.replace(descr(&mut rest)?).is_some(),
            "fortran_order" => fortran.replace(rest.boolean()?).is_some(),
            "shape" => shape.replace(rest.shape()?).is_some(),
            _ => return Err(bad(&format!("it has an unknown entry '{}'", clip(key)))),
        };
        if twice {
            return Err(bad(&format!("its entry '{key}' stands twice")));
        }
        if !rest.take(",") {
            rest.expect("}")?;
            break;
        }
    }
    rest.end()?;
    match (number, fortran, shape) {
        (Some(_), Some(true), Some(_)) => Err(Error::data("is stored in Fortran order (last axis slowest)")
            .help("save it in C order: numpy.save(name, numpy.ascontiguousarray(a))")),
        (Some(number), Some(false), Some(shape)) => Ok(Header { number, shape }),
        _ => Err(bad("one of 'descr', 'fortran_order', 'shape' is missing")),
    }
}

/// The header of an array of `dtype`, padded as NumPy pads.
pub(super) fn write(shape: &[usize], dtype: Dtype) -> Vec<u8> {
    let descr = match dtype {
        Dtype::U8 => "|u1",
        Dtype::U16 => "<u2",
        Dtype::F32 => "<f4",
    };
    let extents: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let tuple = match extents.as_slice() {
        [] => "()".to_string(),
        [one] => format!("({one})"),
        many => format!("({})", many.join(" ").trim_end_matches(',')),
    };
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple}, }}");
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    let length = text.len() + 1 + unpadded.next_multiple_of(ALIGNMENT) - unpadded;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    // 64 axes of 20 digits make 1.5 KB, far below the 64 KiB that the field can say.
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{text:<width$}\n", width = length - 1).bytes());
    bytes
}

fn bad(what: &str) -> Error {
    Error::data(format!("its .npy header is malformed: {what}")).help("save the array with numpy.save")
}

/// At most the first 40 characters, for messages.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The element type, or why it is not read.
fn descr(rest: &mut Tokens) -> Result<Number> {
    const READ: &str = "b i2 i4 i8 u1 u2 u4 u8 f2 f4 f8";
    let refuse = |what: String| {
        Err(Error::data(format!("its element type {what} is not read; read are {READ} of either byte order"))
            .help("convert it: numpy.save(name, a.astype('<f4'))"))
    };
    if rest.peek() == Some('[') {
        return refuse("is a record with named fields and".to_string());
    }
    let name = rest.string()?;
    let (order, code) = name.split_at_checked(1).unwrap_or(("", name));
    let kind = match code {
        "u1" => Kind::U8,
        "i1" => Kind::I8,
        "u2" => Kind::U16,
        "i2" => Kind::I16,
        "u4" => Kind::U32,
        "i4" => Kind::I32,
        "u8" => Kind::U64,
        "i8" => Kind::I64,
        "f2" => Kind::F16,
        "f4" => Kind::F32,
        "f8" => Kind::F64,
        _ => return refuse(format!("'{}'", clip(name))),
    };
    let big_endian = match (order, kind) {
        ("|" | "<", Kind::U8 | Kind::I8) | ("<", _) => false,
        (">", _) => true,
        _ => return refuse(format!("'{}'", clip(name))),
    };
    Ok(Number { kind, big_endian })
}

/// The text and how far it is read.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\n']).len();
    }
    fn peek(&mut self) -> Option<char> {
        self.skip_blanks();
        self.rest().chars().next()
    }
    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }
    fn expect(&mut self, token: &str) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(&format!("'{token}'"))) }
    }
    fn unexpected(&self, wanted: &str) -> Error {
        bad(&format!("{wanted} expected at '{}', character {}", clip(self.rest()), self.at))
    }
    fn string(&mut self) -> Result<&'a str> {
        let quote =
            self.peek().filter(|c| ['\'', '"'].contains(c)).ok_or_else(|| self.unexpected("a name in quotes"))?;
        let body = &self.rest()[1..];
        let end = body.find(quote).ok_or_else(|| self.unexpected("a closing quote"))?;
        self.at += end + 2;
        Ok(&body[..end])
    }
    fn boolean(&mut self) -> Result<bool> {
        if self.take("True") {
            return Ok(true);
        }
        if self.take("False") { Ok(false) } else { Err(self.unexpected("True or False")) }
    }
    fn shape(&mut self) -> Result<Vec<usize>> {
        self.expect("(")?;
        let mut shape = Vec::new();
        let mut comma = true;
        while !self.take(")") {
            if !comma || shape.len() == MAX_AXES {
                return Err(self.unexpected("')'"));
            }
            self.skip_blanks();
            let digits = self.rest().len() - self.rest().trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let extent = self.rest()[..digits].parse().map_err(|_| self.unexpected("an extent"))?;
            self.at += digits;
            shape.push(extent);
            comma = self.take(",");
        }
        // "(5)" is a number in parentheses, not a shape.
        if shape.len() == 1 && !comma { Err(self.unexpected("',' in the shape")) } else { Ok(shape) }
    }
    fn end(&mut self) -> Result<()> {
        self.skip_blanks();
        if self.rest().is_empty() { Ok(()) } else { Err(self.unexpected("the end of the header")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<Header> {
        parse(text.as_bytes())
    }

    #[test]
    fn numpys_own_headers_are_read() {
        let h = header("{'descr': '<f4', 'fortran_order': False, 'shape': (16, 8, 48), }          \n").unwrap();
        assert_eq!(h, Header { number: Number { kind: Kind::F32, big_endian: false }, shape: vec![16, 8, 48] });
        let h = header("{\"shape\":(7,),\"fortran_order\":False,\"descr\":\">u2\"}").unwrap();
        assert_eq!(h, Header { number: Number { kind: Kind::U16, big_endian: true }, shape: vec![7] });
        assert_eq!(header("{'descr': '|u1', 'fortran_order': False, 'shape': ()}").unwrap().shape, [0; 0]);
    }

    #[test]
    fn what_is_written_is_read_and_aligned() {
        for shape in [&[][..], &[3], &[640, 1], &[1500, 2160, 2560], &[1; 40]] {
            let bytes = write(shape, Dtype::F32);
            assert_eq!(bytes.len() % ALIGNMENT, 0);
            let (start, length) = extent(&bytes[..PREFIX]).unwrap();
            assert_eq!((start + length) as usize, bytes.len());
            assert_eq!(parse(&bytes[start as usize..]).unwrap().shape, shape);
        }
        // Byte for byte what numpy 1.26 writes for numpy.zeros((3, 4), "<f4").
        let text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }";
        let bytes = write(&[3, 4], Dtype::F32);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(&bytes[10..10 + text.len()], text);
        assert_eq!(bytes.last(), Some(&b'\n'));
        assert_eq!(bytes.len(), 128);
    }

    #[test]
    fn everything_else_is_refused_and_says_why() {
        let table = [
            ("", "'{' expected"),
            ("{}", "missing"),
            ("{'descr': '<f4', 'fortran_order': False}", "missing"),
            ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "twice"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", "Fortran order"),
            ("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", "'<c8'"),
            ("{'descr': '=f4', 'fortran_order': False, 'shape': (1,)}", "'=f4'"),
            ("{'descr': '|f4', 'fortran_order': False, 'shape': (1,)}", "'|f4'"),
            ("{'descr': '|b1', 'fortran_order': False, 'shape': (1,)}", "'|b1'"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "'|O'"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "named fields"),
            ("{'descr': '', 'fortran_order': False, 'shape': (1,)}", "''"),
            ("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", "True or False"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", "','"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "extent"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,)}", "')'"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "extent"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,,)}", "extent"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': [1]}", "'('"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "end of the header"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", "unknown entry 'more'"),
            ("{'descr': '<f4", "closing quote"),
        ];
        for (text, why) in table {
            let e = header(text).expect_err(text);
            assert!(e.what().contains(why) && e.advice().is_some(), "{text}: {e}");
        }
        assert!(parse(b"{'descr': '\xff'}").is_err());
        let huge = header("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}").unwrap();
        assert!(huge.bytes().is_err());
    }

    #[test]
    fn bad_beginnings_are_refused() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "first bytes"),
            (b"\x93NUMPZ\x01\x00\x10\x00", "first bytes"),
            (b"\x93NUMPY", "truncated"),
            (b"\x93NUMPY\x02\x00\x10\x00", "truncated"),
            (b"\x93NUMPY\x04\x00\x10\x00\x00\x00", "version 4.0"),
            (b"\x93NUMPY\x02\x00\x00\x00\x00\x80", "2147483648 bytes"),
        ];
        for (prefix, why) in cases {
            let e = extent(prefix).unwrap_err();
            assert!(e.what().contains(why), "{prefix:?}: {e}");
        }
        assert_eq!(extent(b"\x93NUMPY\x03\x00\x10\x02\x00\x00").unwrap(), (12, 0x210));
    }
}
