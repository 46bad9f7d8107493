//! L1. Canonical JSON: one value has exactly one text, so that texts can be compared and hashed.
//!
//! Canonical form: keys sorted by their bytes, two spaces of indentation per level, `"key": value`, one LF at the
//! end, integers without a point, other numbers as the shortest text that reads back as the same f64 (always with
//! a point or an exponent, so that an integer stays an integer), non-ASCII characters as they are.
//!
//! The parser takes RFC 8259 and nothing else, and bounds what a hostile text can cost: [`MAX_TEXT`] bytes,
//! [`MAX_DEPTH`] levels, no key twice, integers within i64, numbers within f64.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Longest text that is parsed: 4 MiB hold the slab digests of a 3 TB volume.
pub const MAX_TEXT: usize = 4 << 20;
/// Deepest nesting that is parsed.
pub const MAX_DEPTH: usize = 32;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`: not known, or not there.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Any other number. Not finite, it is written as the text `"nan"`, `"inf"` or `"-inf"`: JSON has no word for it.
    Num(f64),
    /// A text.
    Str(String),
    /// A list.
    Arr(Vec<Json>),
    /// An object.
    Obj(BTreeMap<String, Json>),
}

impl Json {
    /// An object of `pairs`; of two pairs with one key the later one stays.
    pub fn obj<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Json)>) -> Json {
        Json::Obj(pairs.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// Reads one JSON text; see the [module](self) for the limits.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) with line and column of the first fault.
    pub fn parse(text: &str) -> Result<Json> {
        Json::parse_shallow(text, MAX_DEPTH)
    }

    /// Reads one JSON text of at most `levels` levels.
    ///
    /// # Errors
    /// As [`Json::parse`].
    pub fn parse_shallow(text: &str, levels: usize) -> Result<Json> {
        if text.len() > MAX_TEXT {
            return Err(Error::data(format!("a JSON text of {} bytes; at most {MAX_TEXT} are read", text.len())));
        }
        let mut parser = Parser { text, at: 0, levels };
        let value = parser.value(0)?;
        parser.space();
        if parser.at < text.len() {
            return Err(parser.fault("more text after the end of the JSON value"));
        }
        Ok(value)
    }

    /// The canonical text: see the [module](self).
    pub fn to_canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(0));
        out.push('\n');
        out
    }

    /// The canonical text on one line without spaces and without LF, for logs and journals.
    pub fn to_line(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None);
        out
    }

    /// Member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.as_obj()?.get(key)
    }
    /// The text.
    pub fn as_str(&self) -> Option<&str> {
        if let Json::Str(s) = self { Some(s) } else { None }
    }
    /// The truth value.
    pub fn as_bool(&self) -> Option<bool> {
        if let Json::Bool(b) = self { Some(*b) } else { None }
    }
    /// The integer.
    pub fn as_i64(&self) -> Option<i64> {
        if let Json::Int(i) = self { Some(*i) } else { None }
    }
    /// The integer, if it is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_i64().and_then(|i| u64::try_from(i).ok())
    }
    /// The number, integer or not.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Json::Int(i) => Some(*i as f64),
            Json::Num(v) => Some(*v),
            _ => None,
        }
    }
    /// The list.
    pub fn as_arr(&self) -> Option<&[Json]> {
        if let Json::Arr(a) = self { Some(a) } else { None }
    }
    /// The object.
    pub fn as_obj(&self) -> Option<&BTreeMap<String, Json>> {
        if let Json::Obj(o) = self { Some(o) } else { None }
    }

    /// Member `key`, which must be there.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) naming the key.
    pub fn need(&self, key: &str) -> Result<&Json> {
        self.get(key).ok_or_else(|| Error::data(format!("`{key}` is missing")))
    }
    /// Member `key`, which must be a text.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) naming the key.
    pub fn need_str(&self, key: &str) -> Result<&str> {
        self.need(key)?.as_str().ok_or_else(|| Error::data(format!("`{key}` is not a text")))
    }
    /// Member `key`, which must be an integer of at least 0.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) naming the key.
    pub fn need_u64(&self, key: &str) -> Result<u64> {
        self.need(key)?.as_u64().ok_or_else(|| Error::data(format!("`{key}` is not a whole number of at least 0")))
    }
    /// Member `key`, which must be a number.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) naming the key.
    pub fn need_f64(&self, key: &str) -> Result<f64> {
        self.need(key)?.as_f64().ok_or_else(|| Error::data(format!("`{key}` is not a number")))
    }
    /// Member `key`, which must be a list.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) naming the key.
    pub fn need_arr(&self, key: &str) -> Result<&[Json]> {
        self.need(key)?.as_arr().ok_or_else(|| Error::data(format!("`{key}` is not a list")))
    }

    /// Appends the text; `indent` is the nesting level, or `None` for one line.
    fn write(&self, out: &mut String, indent: Option<usize>) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Json::Int(i) => out.push_str(&i.to_string()),
            Json::Num(v) if v.is_nan() => out.push_str("\"nan\""),
            Json::Num(v) if v.is_infinite() => out.push_str(if *v > 0.0 { "\"inf\"" } else { "\"-inf\"" }),
            // `{:?}` of an f64 is its shortest round-trip text, with a point or an exponent.
            Json::Num(v) => out.push_str(&format!("{v:?}")),
            Json::Str(s) => write_text(out, s),
            Json::Arr(list) => {
                write_members(out, indent, '[', ']', list.iter(), |out, inner, value| value.write(out, inner));
            }
            Json::Obj(map) => write_members(out, indent, '{', '}', map.iter(), |out, inner, (key, value)| {
                write_text(out, key);
                out.push_str(if inner.is_some() { ": " } else { ":" });
                value.write(out, inner);
            }),
        }
    }
}

/// Writes the members of a list or an object between its brackets.
fn write_members<T>(
    out: &mut String,
    indent: Option<usize>,
    open: char,
    close: char,
    members: impl ExactSizeIterator<Item = T>,
    mut one: impl FnMut(&mut String, Option<usize>, T),
) {
    let inner = indent.map(|level| level + 1);
    let new_line = |out: &mut String, level: Option<usize>| {
        if let Some(level) = level {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", level));
        }
    };
    let empty = members.len() == 0;
    out.push(open);
    for (i, member) in members.enumerate() {
        if i > 0 {
            out.push(',');
        }
        new_line(out, inner);
        one(out, inner, member);
    }
    if !empty {
        new_line(out, indent);
    }
    out.push(close);
}

/// Writes a text between quotes, escaping only what JSON requires.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Conversions that lose nothing.
macro_rules! from {
    ($($from:ty => $make:expr;)*) => {$(
        impl From<$from> for Json {
            fn from(value: $from) -> Json {
                $make(value)
            }
        }
    )*};
}
from! {
    bool => Json::Bool;
    i64 => Json::Int;
    i32 => |i| Json::Int(i64::from(i));
    u32 => |i| Json::Int(i64::from(i));
    f32 => |v| Json::from(f64::from(v));
    &str => |s: &str| Json::Str(s.to_owned());
    String => Json::Str;
}
impl From<u64> for Json {
    /// An integer; beyond i64 its decimal digits as a text, because rounding would change it.
    fn from(i: u64) -> Json {
        i64::try_from(i).map_or_else(|_| Json::Str(i.to_string()), Json::Int)
    }
}
impl From<usize> for Json {
    fn from(i: usize) -> Json {
        (i as u64).into()
    }
}
impl From<f64> for Json {
    /// A number; not finite, the text that [`Json::Num`] writes for it, so that parsing gives the same value back.
    fn from(v: f64) -> Json {
        match v {
            v if v.is_finite() => Json::Num(v),
            v if v.is_nan() => Json::Str("nan".into()),
            v => Json::Str(if v > 0.0 { "inf" } else { "-inf" }.into()),
        }
    }
}
impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(list: Vec<T>) -> Json {
        Json::Arr(list.into_iter().map(Into::into).collect())
    }
}
impl<T: Into<Json>, const N: usize> From<[T; N]> for Json {
    fn from(list: [T; N]) -> Json {
        Json::Arr(list.into_iter().map(Into::into).collect())
    }
}
impl<T: Into<Json> + Clone> From<&[T]> for Json {
    fn from(list: &[T]) -> Json {
        Json::Arr(list.iter().cloned().map(Into::into).collect())
    }
}
impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Json {
        value.map_or(Json::Null, Into::into)
    }
}

/// Recursive descent over the bytes of a text; `at` always stands on a character boundary.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    levels: usize,
}

impl Parser<'_> {
    fn fault(&self, what: &str) -> Error {
        let before = &self.text.as_bytes()[..self.at];
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|&&b| b != b'\n').count();
        Error::data(format!("not valid JSON: {what} (line {line}, column {column})"))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = self.text[self.at..].starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json> {
        self.space();
        match self.peek() {
            Some(b'{' | b'[') if depth == self.levels => {
                Err(self.fault(&format!("nested deeper than {} levels", self.levels)))
            }
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Str),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.take("null") => Ok(Json::Null),
            _ if self.take("true") => Ok(Json::Bool(true)),
            _ if self.take("false") => Ok(Json::Bool(false)),
            Some(_) => Err(self.fault("expected a value")),
            None => Err(self.fault("the text ends where a value is expected")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json> {
        let mut map = BTreeMap::new();
        self.at += 1;
        self.space();
        if self.take("}") {
            return Ok(Json::Obj(map));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.fault("expected a key in quotes"));
            }
            let key = self.string()?;
            if map.contains_key(&key) {
                return Err(self.fault(&format!("the key `{key}` stands twice")));
            }
            self.space();
            if !self.take(":") {
                return Err(self.fault("expected `:`"));
            }
            let value = self.value(depth + 1)?;
            map.insert(key, value);
            self.space();
            if self.take("}") {
                return Ok(Json::Obj(map));
            }
            if !self.take(",") {
                return Err(self.fault("expected `,` or `}`"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json> {
        let mut list = Vec::new();
        self.at += 1;
        self.space();
        if self.take("]") {
            return Ok(Json::Arr(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            self.space();
            if self.take("]") {
                return Ok(Json::Arr(list));
            }
            if !self.take(",") {
                return Err(self.fault("expected `,` or `]`"));
            }
        }
    }

    fn digits(&mut self) -> Result<()> {
        let first = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == first { Err(self.fault("expected a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Json> {
        let first = self.at;
        self.take("-");
        // A leading zero stands alone.
        if !self.take("0") {
            self.digits()?;
        } else if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.fault("a number starts with a superfluous 0"));
        }
        let mut integer = true;
        if self.take(".") {
            integer = false;
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            integer = false;
            if !self.take("+") {
                self.take("-");
            }
            self.digits()?;
        }
        let text = &self.text[first..self.at];
        if integer {
            text.parse().map(Json::Int).map_err(|_| self.fault("an integer beyond 64 bits"))
        } else {
            match text.parse::<f64>() {
                Ok(v) if v.is_finite() => Ok(Json::Num(v)),
                _ => Err(self.fault("a number beyond the range of f64")),
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        let mut out = String::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().take_while(|&b| b != b'"' && b != b'\\' && b >= b' ').count();
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escape()?;
                    out.push(c);
                }
                Some(_) => return Err(self.fault("a control character in a text")),
                None => return Err(self.fault("a text without its closing quote")),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Result<char> {
        let letter = self.peek();
        if letter.is_some_and(|b| b.is_ascii()) {
            self.at += 1;
        }
        match letter {
            Some(b'"') => Ok('"'),
            Some(b'\\') => Ok('\\'),
            Some(b'/') => Ok('/'),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => {
                let high = self.hex4()?;
                // UTF-16: a high surrogate 0xD800.. and a low one 0xDC00.. carry ten bits each, above 0x10000.
                if (0xd800..0xdc00).contains(&high) && self.take("\\u") {
                    let low = self.hex4()?;
                    if (0xdc00..0xe000).contains(&low) {
                        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        return char::from_u32(code).ok_or_else(|| self.fault("not a character"));
                    }
                }
                char::from_u32(high).ok_or_else(|| self.fault("half of a surrogate pair"))
            }
            _ => Err(self.fault("an unknown escape")),
        }
    }

    fn hex4(&mut self) -> Result<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else {
            return Err(self.fault("expected four hexadecimal digits"));
        };
        let code = digits.iter().fold(0, |code, &d| code * 16 + (d as char).to_digit(16).unwrap_or(0));
        self.at += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests;
