use super::*;
use crate::num::elementary::ln_gamma;

fn camera(settings: &Settings, field: &Field) -> Camera {
    Camera::new(settings, field, 10, [7, 3, 1]).unwrap()
}

/// P(z' ≤ z) by Simpson's rule.
fn normal_cdf(z: f64) -> f64 {
    let (n, low) = (4000, -9.0);
    let step = (z - low) / f64::from(n);
    let at = |i: i32| (-0.5 * (low + f64::from(i) * step).powi(2)).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (0..=n).map(|i| at(i) * if i == 0 || i == n { 1.0 } else { f64::from(2 + 2 * (i % 2)) }).sum::<f64>() * step / 3.0
}

#[test]
fn the_quantiles_are_those_of_poisson() {
    for mean in [EXACT_BELOW, 1000.0] {
        let (mut cumulated, mut worst) = (0.0, 0.0f64);
        for k in 0..(mean + 6.0 * mean.sqrt()) as u64 {
            cumulated += exp(k as f64 * ln(mean) - mean - ln_gamma(k as f64 + 1.0));
            // z of k + ½ by bisection: the quantile rises.
            let (mut low, mut high) = (-8.5, 8.5);
            for _ in 0..60 {
                let z = 0.5 * (low + high);
                *(if quantile(mean, 1.0, 0.0, z) < k as f64 + 0.5 { &mut low } else { &mut high }) = z;
            }
            worst = worst.max((normal_cdf(low) - cumulated).abs());
        }
        println!("mean {mean}: probabilities off by at most {worst:e}");
        // Density 0.4/σ times the 1/24σ by which a lattice's variance 1/12 widens the curve.
        assert!(worst < 0.02 / mean, "mean {mean}: {worst}");
    }
}

#[test]
fn counts_have_poissons_moments_at_every_dose() {
    let field = Field::new(200, 300, 150.0);
    for quanta in [20.0, 1e4, 1e9] {
        let camera = camera(&Settings::plain(quanta), &field);
        let n = 60_000.0;
        let of = |frame, intensity: &[f32]| {
            let counts = camera.counts(Isa::detect(), frame, intensity);
            let mean = counts.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            (mean, counts.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n)
        };
        for (light, (mean, variance)) in [
            (1.0, of(Frame::Flat(0), &[])),
            (0.5, of(Frame::Projection(4), &[0.5; 60_000])),
            (0.0, of(Frame::Dark(39), &[])),
        ] {
            let gain = 39_900.0 / quanta;
            // Rounding adds a twelfth; where bright quanta reach white, 20 quanta are too many.
            let expected = gain * gain * quanta * light + 4.0 + 1.0 / 12.0;
            let clipped = if quanta < 100.0 && light > 0.0 { 0.2 } else { 0.0 };
            assert!(
                (mean - 100.0 - 39_900.0 * light).abs() < 5.0 * (expected / n).sqrt() + clipped * 1000.0,
                "{quanta} {light}: {mean}"
            );
            assert!(
                (variance / expected - 1.0).abs() < 5.0 * (3.0 / n).sqrt() + clipped,
                "{quanta} {light}: {variance}"
            );
        }
    }
}

/// A picture that rises evenly is seen where the equations of the module say.
#[test]
fn a_pixel_looks_where_it_should() {
    let (drift, moved) = ([1.0, -2.0, 0.5], [-0.3, 0.25, 0.125]);
    let field = Field { first_row: 5.0, axis_drift: 0.7, tilt: 0.02, drift, moved, ..Field::new(20, 30, 17.5) };
    let camera = camera(&Settings { blur: 0.6, ..Settings::plain(1e4) }, &field);
    let (width, rows) = (field.fine_columns(), field.fine_rows(200));
    assert!(rows.start < 2 * 5 && rows.end > 2 * 25 + 2, "{rows:?}");
    // Value: s + 100 z, in voxels.
    let value = |i: usize| {
        let (row, column) = ((i / width + rows.start) as f64, (i % width) as f64);
        ((column + 0.5 - width as f64 / 2.0) / 2.0 + 100.0 * ((row + 0.5) / 2.0 - 0.5)) as f32
    };
    let picture: Vec<f32> = (0..rows.len() * width).map(value).collect();
    let theta = 0.4f64;
    let seen = camera.look(Isa::detect(), &picture, width, rows.start, 9, theta);
    let since = 9.5 / 10.0 - 0.5;
    for (y, x) in [(0usize, 0usize), (19, 0), (7, 13), (19, 29)] {
        let (v, u) = (y as f64 - 9.5, x as f64 - 14.5);
        let (sin, cos) = 0.02f64.sin_cos();
        let [at_x, at_y, at_z] = [0, 1, 2].map(|i| moved[i] + since * drift[i]);
        let s = u * cos - v * sin + 14.5 - 17.5 - since * 0.7 - (at_x * theta.cos() + at_y * theta.sin());
        let z = u * sin + v * cos + 9.5 + 5.0 - at_z;
        let got = f64::from(seen[y * 30 + x]);
        // Values to 3000 in f32, a dozen roundings.
        assert!((got - s - 100.0 * z).abs() < 5e-3, "{y} {x}: {got}, not {}", s + 100.0 * z);
    }
}

#[test]
fn faults_are_where_they_are_said_to_be_and_frames_stand_alone() {
    let field = Field::new(100, 120, 60.0);
    let settings = Settings { bad_pixels: 20, zingers: 1e-3, ripple: 0.0, quanta: 1e6, ..Settings::default() };
    let camera = camera(&settings, &field);
    let air = vec![1.0f32; 12_000];
    let flats: Vec<Vec<f32>> = [0, 1, 39].map(|i| camera.counts(Isa::detect(), Frame::Flat(i), &[])).into();
    let seen = camera.counts(Isa::detect(), Frame::Projection(5), &air);
    let ratio = |x: usize| {
        let column: Vec<f64> = (0..100).map(|y| f64::from(seen[y * 120 + x] / flats[0][y * 120 + x])).collect();
        let mut sorted = column;
        sorted.sort_by(f64::total_cmp);
        sorted[50]
    };
    let off = (0..120).filter(|&x| (ratio(x) - 1.0).abs() > 8e-3).count();
    assert!((1..=4).contains(&off), "{off} stripes");
    let [dead, hot] = [100.0, 65_535.0].map(|v| seen.iter().filter(|&&s| s == v).count());
    assert!((8..=10).contains(&dead) && hot >= 8, "{dead} {hot}");
    // The bands drift: top and bottom are darker, rows differ between before and behind.
    let row = |frame: &[f32], y: usize| frame[y * 120..][..120].iter().sum::<f32>();
    assert!(row(&flats[0], 50) > 1.1 * row(&flats[0], 0));
    let moved = (0..100).map(|y| (row(&flats[0], y) / row(&flats[2], y) - 1.0).abs()).fold(0.0, f32::max);
    assert!(moved > 2e-3, "{moved}");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let again = Camera::new(&settings, &field, 10, [7, 3, 1]).unwrap();
        assert_eq!(again.counts(Isa::detect(), Frame::Projection(5), &air), seen);
        assert_ne!(
            Camera::new(&settings, &field, 10, [7, 4, 1]).unwrap().counts(Isa::detect(), Frame::Projection(5), &air),
            seen
        );
    });
    for wrong in [0.0, -1.0, f64::NAN, 1e12] {
        let refused = Camera::new(&Settings::plain(wrong), &field, 10, [0; 3]).map(|_| ()).unwrap_err();
        assert_eq!(refused.fault().exit_code(), 2);
    }
}
