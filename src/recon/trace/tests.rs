use super::*;
use crate::recon::slice;

/// A sinogram of no particular object: a blob off the axis, and noise that is the same every time.
fn sinogram(columns: usize, angles: &Angles) -> Vec<f32> {
    let noise = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5;
    let row = |a: usize| {
        let s0 = columns as f64 / 2.0 + 9.0 * angles.cosines()[a] - 5.0 * angles.sines()[a];
        (0..columns).map(move |j| (6.0 - (j as f64 - s0).abs()).max(0.0) as f32 * 0.1 + 0.02 * noise(a * columns + j))
    };
    (0..angles.len()).flat_map(row).collect()
}

fn traced(columns: usize, angles: &Angles, filter: &Filter) -> Trace {
    let sinogram = sinogram(columns, angles);
    let center = columns as f64 / 2.0 - 0.7;
    let error = gridrec::DEFAULT_ERROR;
    let pixel = None;
    let subject = Subject { sinogram: &sinogram, angles, center, filter, error, pixel };
    trace(Isa::detect(), &subject).unwrap()
}

#[test]
fn the_image_is_the_one_that_a_run_gives() {
    for (columns, count) in [(33, 20), (64, 45)] {
        let angles = Angles::half_turn(count).unwrap();
        let trace = traced(columns, &angles, &Filter::default());
        let center = columns as f64 / 2.0 - 0.7;
        let image = slice(&sinogram(columns, &angles), &angles, center, &Filter::default()).unwrap();
        assert_eq!(
            trace.image.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            image.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        );
    }
}

#[test]
fn every_step_is_its_definition() {
    // Angles beyond 90° are used reversed, 0° and 90° put samples on cell borders.
    let angles = Angles::half_turn(40).unwrap();
    for filter in ["shepp", "hann", "none"] {
        let trace = traced(48, &angles, &Filter::parse(filter, &[]).unwrap());
        let last = trace.checks.len() - 1;
        for (i, check) in trace.checks.iter().enumerate() {
            // f32 sums of up to some hundred terms: a few units of 6e-8 in the mean, more at a single one; taps
            // come from a table that errs by up to 1e-7 of the kernel's peak. The last is the gridding error.
            let bound = if i == last { 10.0 * trace.choice.alias } else { 3e-6 };
            let Deviation { l2, max, count } = check.deviation;
            assert!(count > 0 && l2 < bound && max < bound, "{filter}: {check:?}");
        }
        assert_eq!(trace.checks[1].deviation.max, 0.0);
        assert!(trace.checks[last].deviation.l2 > 1e-7, "without a grid there is a difference");
    }
}

#[test]
fn a_wrong_step_is_seen() {
    let angles = Angles::half_turn(12).unwrap();
    let good = traced(20, &angles, &Filter::default());
    let deviation = |values: &[f32]| {
        Deviation::of_real(values.iter().zip(&good.image).map(|(&a, &b)| (f64::from(a), f64::from(b))))
    };
    let mut bad = good.image.clone();
    bad[7] += good.image.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert_eq!(deviation(&good.image).max, 0.0);
    assert!((deviation(&bad).max - 1.0).abs() < 1e-6);
    bad[3] = f32::NAN;
    assert!(deviation(&bad).max.is_nan() && deviation(&bad).l2.is_nan());
}

#[test]
fn the_unit_scales_the_image_and_its_definition() {
    let angles = Angles::half_turn(30).unwrap();
    let sinogram = sinogram(32, &angles);
    let filter = Filter::default();
    let pixel = Some(Micrometre(2.0));
    let subject = Subject { sinogram: &sinogram, angles: &angles, center: 15.0, filter: &filter, error: 1e-3, pixel };
    let metric = trace(Isa::detect(), &subject).unwrap();
    let plain = trace(Isa::detect(), &Subject { pixel: None, ..subject }).unwrap();
    for (a, b) in metric.image.iter().zip(&plain.image) {
        // 1/(2e-4 cm) = 5000.
        assert!((a - 5000.0 * b).abs() <= 1e-5 * a.abs() + 1e-6, "{a} {b}");
    }
    assert!(metric.checks.iter().all(|c| c.deviation.l2 < 1e-2));
}

#[test]
fn bad_subjects_are_refused() {
    let angles = Angles::half_turn(3).unwrap();
    let (sinogram, filter) = ([0.0; 12], Filter::default());
    let subject =
        Subject { sinogram: &sinogram, angles: &angles, center: 1.5, filter: &filter, error: 1e-3, pixel: None };
    assert!(trace(Isa::detect(), &Subject { sinogram: &sinogram[..11], ..subject }).is_err());
    assert!(trace(Isa::detect(), &Subject { center: 4.5, ..subject }).is_err());
    assert!(trace(Isa::detect(), &Subject { error: 1.0, ..subject }).is_err());
    // Nothing in, nothing out: the errors of zeros are zeros, not 0/0.
    let trace = trace(Isa::detect(), &subject).unwrap();
    let tables = [Step::Filter, Step::Weights, Step::Density, Step::Deapodisation];
    for check in &trace.checks {
        let bound = if tables.contains(&check.step) { 3e-6 } else { 0.0 };
        assert!(check.deviation.max <= bound, "{check:?}");
    }
}
