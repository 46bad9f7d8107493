//! Stored voxels and their physical values.
//!
//! ```text
//! physical = f32(stored · slope + intercept)      in f64: one product, one sum, one rounding to f32
//! ```
//!
//! slope 1 and intercept 0 leave f32 untouched, bit for bit (−0 and NaN payloads included). Writing is the exact
//! inverse or an error: a value is stored only if it reads back equal; nothing is rounded or clamped.

use super::Dtype;
use super::header::Header;
use byteorder::{BigEndian, ByteOrder, LittleEndian};

/// How voxels are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Codec {
    pub dtype: Dtype,
    pub big_endian: bool,
    pub slope: f64,
    pub intercept: f64,
}

impl Codec {
    pub fn of(header: &Header) -> Codec {
        let Header { dtype, big_endian, slope, intercept, .. } = *header;
        Codec { dtype, big_endian, slope, intercept }
    }

    /// Whether a stored value is the physical one.
    pub fn identity(&self) -> bool {
        self.slope == 1.0 && self.intercept == 0.0
    }

    fn physical(&self, stored: f64) -> f32 {
        (stored * self.slope + self.intercept) as f32
    }

    /// Physical values of `bytes`, which are `out.len()` stored voxels.
    pub fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        debug_assert_eq!(bytes.len(), out.len() * self.dtype.size());
        match self.dtype {
            Dtype::U8 => out.iter_mut().zip(bytes).for_each(|(o, &b)| *o = b.into()),
            Dtype::U16 => {
                let read = if self.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
                for (o, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *o = read([pair[0], pair[1]]).into();
                }
            }
            Dtype::F32 if self.big_endian => BigEndian::read_f32_into(bytes, out),
            Dtype::F32 => LittleEndian::read_f32_into(bytes, out),
        }
        if !self.identity() {
            out.iter_mut().for_each(|o| *o = self.physical((*o).into()));
        }
    }

    /// Appends the stored form (little-endian) of `values`.
    ///
    /// # Errors
    /// The index of the first value that has no stored form: out of range, not finite, or between two stored values.
    pub fn encode(&self, values: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
        debug_assert!(!self.big_endian);
        let start = out.len();
        out.resize(start + values.len() * self.dtype.size(), 0);
        let out = &mut out[start..];
        match self.dtype {
            Dtype::F32 => {
                LittleEndian::write_f32_into(values, out);
                return Ok(());
            }
            Dtype::U8 => {
                for (i, (o, &v)) in out.iter_mut().zip(values).enumerate() {
                    *o = self.stored(v, u8::MAX.into()).ok_or(i)? as u8;
                }
            }
            Dtype::U16 => {
                for (i, (o, &v)) in out.chunks_exact_mut(2).zip(values).enumerate() {
                    o.copy_from_slice(&(self.stored(v, u16::MAX.into()).ok_or(i)? as u16).to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// The whole number 0..=`max` whose physical value is `value`.
    fn stored(&self, value: f32, max: i32) -> Option<i32> {
        // The nearest whole number by a conversion that truncates (a call of `round` costs more than all the rest).
        // NaN becomes 0 and what lies outside saturates; whether the guess is right is decided by reading it back.
        let guess = ((f64::from(value) - self.intercept) / self.slope + 0.5) as i32;
        let inside = (0..=max).contains(&guess);
        (inside && self.physical(guess.into()) == value).then_some(guess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(dtype: Dtype, slope: f64, intercept: f64) -> Codec {
        Codec { dtype, big_endian: false, slope, intercept }
    }

    #[test]
    fn f32_identity_keeps_every_bit_in_both_byte_orders() {
        let bits = [0x8000_0000, 0x7fc0_1234, 0xff80_0000, 1, 0x3f80_0000, 0xffa5_a5a5_u32];
        for big_endian in [false, true] {
            let bytes: Vec<u8> =
                bits.iter().flat_map(|b| if big_endian { b.to_be_bytes() } else { b.to_le_bytes() }).collect();
            let mut out = [0.0; 6];
            Codec { big_endian, ..codec(Dtype::F32, 1.0, 0.0) }.decode(&bytes, &mut out);
            assert_eq!(out.map(f32::to_bits), bits);
        }
    }

    #[test]
    fn every_u16_survives_slope_and_intercept() {
        for (slope, intercept) in [(1.0, 0.0), (1.2e-4, -1.5), (-0.3, 7.0), (1e-30, 0.0), (3.0, 1e6)] {
            let codec = codec(Dtype::U16, slope, intercept);
            let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            let mut values = vec![0.0; 1 << 16];
            codec.decode(&bytes, &mut values);
            let mut back = Vec::new();
            assert_eq!(codec.encode(&values, &mut back), Ok(()), "{slope} {intercept}");
            assert!(back == bytes, "{slope} {intercept}");
        }
    }

    #[test]
    fn big_endian_u16_is_read() {
        let mut out = [0.0; 2];
        Codec { big_endian: true, ..codec(Dtype::U16, 2.0, 1.0) }.decode(&[1, 0, 0, 3], &mut out);
        assert_eq!(out, [513.0, 7.0]);
    }

    #[test]
    fn what_cannot_be_stored_is_refused_where_it_stands() {
        let u8_identity = codec(Dtype::U8, 1.0, 0.0);
        let u16_scaled = codec(Dtype::U16, 0.5, 10.0);
        for bad in [-1.0, 256.0, 0.5, f32::NAN, f32::INFINITY, -f32::INFINITY, 1e30] {
            assert_eq!(u8_identity.encode(&[0.0, 255.0, bad], &mut Vec::new()), Err(2), "{bad}");
        }
        for bad in [9.5, 10.25, 10.0 + 32768.0, f32::NAN] {
            assert_eq!(u16_scaled.encode(&[10.0, bad], &mut Vec::new()), Err(1), "{bad}");
        }
        let mut out = vec![9];
        assert_eq!(u16_scaled.encode(&[10.0 + 32767.5], &mut out), Ok(()));
        assert_eq!(out, [9, 255, 255]);
        assert_eq!(u8_identity.encode(&[-0.0], &mut Vec::new()), Ok(()));
    }
}
