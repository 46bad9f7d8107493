//! The numbers of foreign arrays, and how they become f32 (data) or f64 (angles).
//!
//! A conversion is exact where the target can hold the number, and rounds to nearest, ties to even, where it cannot.
//! What would change its meaning is an error instead: a finite f64 that would become an infinite f32, and an integer
//! beyond ±2⁵³ where f64 is asked.

use crate::volume::Dtype;

/// Type of the elements of a foreign array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

/// Type and byte order of the elements of a foreign array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) kind: Kind,
    pub(super) big_endian: bool,
}

impl Number {
    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self.kind {
            Kind::U8 | Kind::I8 => 1,
            Kind::U16 | Kind::I16 | Kind::F16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 => 8,
        }
    }

    /// Its name, as in `u16`.
    pub(super) fn name(self) -> &'static str {
        match self.kind {
            Kind::U8 => "u8",
            Kind::I8 => "i8",
            Kind::U16 => "u16",
            Kind::I16 => "i16",
            Kind::U32 => "u32",
            Kind::I32 => "i32",
            Kind::U64 => "u64",
            Kind::I64 => "i64",
            Kind::F16 => "f16",
            Kind::F32 => "f32",
            Kind::F64 => "f64",
        }
    }

    /// The project's type that holds every value of it, f32 where none does.
    pub(super) fn dtype(self) -> Dtype {
        match self.kind {
            Kind::U8 => Dtype::U8,
            Kind::U16 => Dtype::U16,
            _ => Dtype::F32,
        }
    }

    /// Whether some of its values are not f32 values.
    pub(super) fn rounds(self) -> bool {
        matches!(self.kind, Kind::U32 | Kind::I32 | Kind::U64 | Kind::I64 | Kind::F64)
    }

    /// What the user is told about an array that may be rounded.
    pub(super) fn rounding_note(self, what: &str) -> Option<String> {
        self.rounds().then(|| {
            format!("{what} is stored as {}: values that f32 cannot hold are rounded to the nearest one", self.name())
        })
    }

    /// Converts `out.len()` elements. On failure, the index of the first one that `T` cannot stand for.
    pub(super) fn decode<T: Target>(self, bytes: &[u8], out: &mut [T]) -> std::result::Result<(), usize> {
        debug_assert_eq!(bytes.len(), out.len() * self.size());
        /// One loop per type and byte order, so that the compiler can make vectors of it.
        macro_rules! each {
            ($ty:ty, $convert:expr) => {{
                let (items, _) = bytes.as_chunks::<{ size_of::<$ty>() }>();
                if self.big_endian {
                    out.iter_mut().zip(items).for_each(|(o, b)| *o = $convert(<$ty>::from_be_bytes(*b)));
                } else {
                    out.iter_mut().zip(items).for_each(|(o, b)| *o = $convert(<$ty>::from_le_bytes(*b)));
                }
                Ok(())
            }};
        }
        /// The same where the conversion can fail.
        macro_rules! checked {
            ($ty:ty, $convert:expr) => {{
                let (items, _) = bytes.as_chunks::<{ size_of::<$ty>() }>();
                for (i, (o, b)) in out.iter_mut().zip(items).enumerate() {
                    let value = if self.big_endian { <$ty>::from_be_bytes(*b) } else { <$ty>::from_le_bytes(*b) };
                    *o = $convert(value).ok_or(i)?;
                }
                Ok(())
            }};
        }
        match self.kind {
            Kind::U8 => each!(u8, T::from),
            Kind::I8 => each!(i8, T::from),
            Kind::U16 => each!(u16, T::from),
            Kind::I16 => each!(i16, T::from),
            // `to_f32_const` is the portable text: the hardware instruction is not asked, whatever the build's flags.
            Kind::F16 => each!(u16, |bits| T::from(half::f16::from_bits(bits).to_f32_const())),
            Kind::F32 => each!(f32, T::from),
            Kind::U32 => checked!(u32, |v| T::from_u64(u64::from(v))),
            Kind::I32 => checked!(i32, |v| T::from_i64(i64::from(v))),
            Kind::U64 => checked!(u64, T::from_u64),
            Kind::I64 => checked!(i64, T::from_i64),
            Kind::F64 => checked!(f64, T::from_f64),
        }
    }
}

/// What the numbers become: f32 or f64.
pub(super) trait Target: Copy + Send + From<u8> + From<i8> + From<u16> + From<i16> + From<f32> {
    /// The name of the type.
    const NAME: &'static str;
    /// The number, rounded where that is harmless.
    fn from_i64(value: i64) -> Option<Self>;
    /// The number, rounded where that is harmless.
    fn from_u64(value: u64) -> Option<Self>;
    /// The number, rounded where that is harmless.
    fn from_f64(value: f64) -> Option<Self>;
}

/// Up to here, 2⁵³, every integer is an f64.
const EXACT_INTEGERS: u64 = 1 << f64::MANTISSA_DIGITS;

impl Target for f32 {
    const NAME: &'static str = "f32";
    fn from_i64(value: i64) -> Option<f32> {
        Some(value as f32)
    }
    fn from_u64(value: u64) -> Option<f32> {
        Some(value as f32)
    }
    fn from_f64(value: f64) -> Option<f32> {
        let rounded = value as f32;
        (rounded.is_finite() || !value.is_finite()).then_some(rounded)
    }
}

impl Target for f64 {
    const NAME: &'static str = "f64";
    fn from_i64(value: i64) -> Option<f64> {
        (value.unsigned_abs() <= EXACT_INTEGERS).then_some(value as f64)
    }
    fn from_u64(value: u64) -> Option<f64> {
        (value <= EXACT_INTEGERS).then_some(value as f64)
    }
    fn from_f64(value: f64) -> Option<f64> {
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(kind: Kind, big_endian: bool) -> Number {
        Number { kind, big_endian }
    }

    /// IEEE 754 binary16 by its definition: sign, 5 bits of exponent with bias 15, 10 bits of fraction.
    fn half_by_definition(bits: u16) -> f64 {
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        let exponent = i32::from(bits >> 10 & 31);
        let fraction = f64::from(bits & 1023) / 1024.0;
        match exponent {
            0 => sign * fraction * 2f64.powi(-14),
            31 if fraction == 0.0 => sign * f64::INFINITY,
            31 => f64::NAN,
            _ => sign * (1.0 + fraction) * 2f64.powi(exponent - 15),
        }
    }

    #[test]
    fn every_half_is_converted_exactly() {
        for big in [false, true] {
            for bits in 0..=u16::MAX {
                let mut out = [0f32];
                let bytes = if big { bits.to_be_bytes() } else { bits.to_le_bytes() };
                number(Kind::F16, big).decode(&bytes, &mut out).unwrap();
                let expected = half_by_definition(bits);
                if expected.is_nan() {
                    assert!(out[0].is_nan(), "{bits:#06x}");
                } else {
                    // Every finite half is an f32, so the comparison is of bits (it sees the sign of zero).
                    assert_eq!(out[0].to_bits(), (expected as f32).to_bits(), "{bits:#06x}");
                }
            }
        }
    }

    #[test]
    fn every_kind_reads_its_extremes_in_both_byte_orders() {
        macro_rules! check {
            ($ty:ty, $kind:expr, $values:expr) => {
                for value in $values {
                    for big in [false, true] {
                        let bytes = if big { value.to_be_bytes() } else { value.to_le_bytes() };
                        let n = number($kind, big);
                        assert_eq!(n.size(), bytes.len());
                        let mut out = [0f32];
                        n.decode(&bytes, &mut out).unwrap();
                        assert_eq!(out[0].to_bits(), (value as f32).to_bits(), "{} {value}", n.name());
                    }
                }
            };
        }
        check!(u8, Kind::U8, [0u8, 1, 255]);
        check!(i8, Kind::I8, [i8::MIN, -1, 127]);
        check!(u16, Kind::U16, [0u16, 258, u16::MAX]);
        check!(i16, Kind::I16, [i16::MIN, -2, 258]);
        check!(u32, Kind::U32, [0u32, 16_777_217, u32::MAX]);
        check!(i32, Kind::I32, [i32::MIN, -16_777_217, 7]);
        check!(u64, Kind::U64, [0u64, 1 << 60, u64::MAX]);
        check!(i64, Kind::I64, [i64::MIN, -1, i64::MAX]);
        check!(f32, Kind::F32, [-0.0f32, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::INFINITY]);
        check!(f64, Kind::F64, [0.1f64, -1e-320, 3.4e38, f64::NEG_INFINITY]);
    }

    #[test]
    fn what_would_change_its_meaning_is_refused_with_its_place() {
        let bytes: Vec<u8> = [1.0, 1e39, 2.0].iter().flat_map(|v: &f64| v.to_le_bytes()).collect();
        assert_eq!(number(Kind::F64, false).decode(&bytes, &mut [0f32; 3]), Err(1));
        assert_eq!(number(Kind::F64, false).decode(&bytes, &mut [0f64; 3]), Ok(()));
        let bytes: Vec<u8> = [1i64 << 53, (1 << 53) + 1].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(number(Kind::I64, true).decode(&bytes, &mut [0f64; 2]), Err(1));
    }
}
