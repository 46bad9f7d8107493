//! Current, voltage and clock, as a potentiostat would log them beside the scans.
//!
//! ```text
//! segment k is on from 20 + 30 (k − 1) min for 10 min, then rests 20 min; scan k begins 5 min after it, scan 0 at 0
//! |V| on       V₀ + V_n e^(−τ/2 min) + V_a (2w − 1)⁴       τ since current on, w through the half cycle in 0 … 1
//! V at rest    V_end e^(−τ/3 min)                           τ since current off
//! ```
//!
//! plus 0.2 mV of noise; positive in charge. V_n is nucleation, V_a the arch of a symmetric cell with its ends eroded.

use super::schedule::{CELL_AREA, CURRENT_DENSITY, HALF, SCANS, SEGMENT_MINUTES};
use crate::num::elementary::exp;
use crate::num::philox::Stream;
use std::fmt::Write as _;

/// Minutes from one segment to the next.
const CYCLE: f64 = 30.0;
/// Minutes before the first segment.
const BEFORE: f64 = 20.0;
/// Minutes between a segment's end and its scan.
const SETTLING: f64 = 5.0;
/// Seconds between two lines of the log.
const INTERVAL: f64 = 10.0;
const STREAM: u32 = 0x706f_7400;
const DELAY: u32 = 0x706f_7401;

/// Seconds on the potentiostat's clock at which scan k begins.
pub fn scan_start(k: usize) -> f64 {
    match k {
        0 => 0.0,
        _ => 60.0 * (BEFORE + CYCLE * (k as f64 - 1.0) + SEGMENT_MINUTES + SETTLING),
    }
}

/// Seconds by which the scanner's clock is ahead of the potentiostat's: −90 … 90, one number per cell.
pub fn clock_offset(seed: u64) -> f64 {
    (180.0 * Stream::new(seed, STREAM).uniform_f64(0) - 90.0).round()
}

/// Seconds by which scan k of a blind cell begins late, 0 … 120: who knows the plan does not know the clocks.
pub fn delay(seed: u64, k: usize) -> f64 {
    (120.0 * Stream::new(seed, DELAY).uniform_f64(k as u64)).round()
}

/// Current (mA, whole cell) and voltage (V) at a time (s).
pub fn state(seconds: f64) -> (f64, f64) {
    let minutes = seconds / 60.0 - BEFORE;
    if minutes < 0.0 {
        return (0.0, 0.0);
    }
    let segment = ((minutes / CYCLE) as usize).min(SCANS - 2);
    let tau = minutes - CYCLE * segment as f64;
    let sign = if segment < HALF { 1.0 } else { -1.0 };
    let on = |tau: f64| {
        let through = ((segment % HALF) as f64 + tau / SEGMENT_MINUTES) / HALF as f64;
        let arch = (2.0 * through - 1.0) * (2.0 * through - 1.0);
        0.11 + 0.05 * exp(-tau / 2.0) + 0.06 * arch * arch
    };
    match tau < SEGMENT_MINUTES {
        true => (sign * CURRENT_DENSITY * CELL_AREA, sign * on(tau)),
        false => (0.0, sign * on(SEGMENT_MINUTES) * exp(-(tau - SEGMENT_MINUTES) / 3.0)),
    }
}

/// The log as CSV: `time_s,current_mA,voltage_V,segment`.
pub fn log(seed: u64) -> String {
    let noise = Stream::new(seed, STREAM);
    let mut text = String::from("time_s,current_mA,voltage_V,segment\n");
    let lines = (60.0 * (BEFORE + CYCLE * (SCANS - 1) as f64) / INTERVAL) as u64;
    for line in 0..=lines {
        let seconds = line as f64 * INTERVAL;
        let (current, voltage) = state(seconds);
        let voltage = voltage + 2e-4 * noise.normal(line + 1);
        let segment = if current == 0.0 { 0 } else { ((seconds / 60.0 - BEFORE) / CYCLE) as usize + 1 };
        let _ = writeln!(text, "{seconds},{current},{voltage:.5},{segment}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_s_charge_is_faraday_s() {
        let text = log(3);
        let mut charge = [0.0f64; 2];
        let mut on = [0u32; SCANS];
        for line in text.lines().skip(1) {
            let fields: Vec<f64> = line.split(',').map(|f| f.parse().unwrap()).collect();
            charge[usize::from(fields[1] < 0.0)] += fields[1] * INTERVAL / 3600.0;
            on[fields[3] as usize] += 1;
            assert!(fields[1] == 0.0 || fields[1] * fields[2] > 0.0, "{line}");
        }
        // 12 segments of 0.125 mAh each way; sums of a constant, exact but for rounding.
        assert!((charge[0] - 1.5).abs() < 1e-9 && (charge[1] + 1.5).abs() < 1e-9, "{charge:?}");
        assert!(on[1..].iter().all(|&n| n == 60));
        for k in 1..SCANS {
            // Scans are taken at rest.
            assert_eq!(state(scan_start(k)).0, 0.0);
            assert_eq!(state(scan_start(k) + delay(3, k)).0, 0.0);
            assert!((0.0..=120.0).contains(&delay(3, k)) && delay(3, k) != delay(4, k));
            assert_eq!(state(scan_start(k) - 60.0 * SETTLING - 1.0).0, if k <= HALF { 0.75 } else { -0.75 });
        }
    }
}
