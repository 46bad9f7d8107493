//! L1. The arithmetic contract `TL-F32-1`, and what it is built from.
//!
//! 1. Each output has **one accumulator and one order**. SIMD and threads run across outputs, never along a sum.
//! 2. Long sums into few outputs use fixed blocks of [`sum::BLOCK`] elements and 16 virtual lanes, folded
//!    8-4-2-1, blocks added in index order ([`sum`]). Never a function of threads, instruction set or device.
//! 3. Fused multiply-add is explicit ([`lanes::F32x16::mul_add`], `f32::mul_add`). No flush-to-zero, no fast-math.
//! 4. No platform libm: [`elementary`] has exp, ln, sin, cos made of IEEE operations only.
//! 5. No float atomics, hash-map order, time or thread ids in results. Random numbers are a function of
//!    `(seed, stream, index)` ([`philox`]).
//! 6. Counts and histograms are integers.
//! 7. Scatter becomes ownership: whoever owns an output cell adds to it, in one stated order.
//!
//! The contract's name stands in every manifest ([`CONTRACT`]); if output bits change, a stage's version changes.

pub mod elementary;
pub mod lanes;
pub mod linalg;
pub mod philox;
pub mod rigid;
pub mod sum;

/// Name of the arithmetic contract, recorded in every manifest.
pub const CONTRACT: &str = "TL-F32-1";
