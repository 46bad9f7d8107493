//! Against TomoPy's fixtures, and against stripes that were planted.

use super::*;
use crate::num::philox::Stream;
use crate::testing::fixture;

/// `proj.npy` is (16, 8, 48): its eight sinograms.
fn sinograms(values: &[f32]) -> Vec<Vec<f32>> {
    (0..8).map(|row| (0..16).flat_map(|t| values[(t * 8 + row) * 48..][..48].to_vec()).collect()).collect()
}

fn remove(stripe: &Stripe, columns: usize, sinogram: &[f32]) -> Vec<f32> {
    let plan = StripePlan::new(stripe, sinogram.len() / columns, columns).unwrap();
    let mut first: Option<Vec<f32>> = None;
    for isa in Isa::available() {
        let mut out = sinogram.to_vec();
        let mut work = plan.work();
        plan.run(isa, &mut work, &mut out);
        // Buffers that were used before leave no trace.
        let mut again = sinogram.to_vec();
        plan.run(isa, &mut work, &mut again);
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&out), bits(&again));
        assert_eq!(bits(&out), bits(first.get_or_insert(out.clone())), "{}", isa.name());
    }
    first.unwrap()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

/// TomoPy's defaults: db5, σ = 2, levels from the largest extent, zeros as padding, the shifted damping.
#[test]
fn fourier_wavelet_is_tomopys_with_its_choices() {
    let (Some(input), Some(want)) = (fixture("proj.npy"), fixture("remove_stripe_fw.npy")) else { return };
    let theirs = Stripe::FourierWavelet {
        level: Some(6),
        wavelet: Wavelet::parse("db5").unwrap(),
        sigma: 2.0,
        pad: Pad::Zero,
        damping: Damping::Shifted,
    };
    for (input, want) in sinograms(&input).iter().zip(&sinograms(&want)) {
        let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = worst(&remove(&theirs, 48, input), want);
        assert!(off <= 3e-6 * largest, "{off:e} of {largest}");
    }
}

#[test]
fn titarenko_is_tomopys() {
    let (Some(input), Some(want)) = (fixture("proj.npy"), fixture("remove_stripe_ti.npy")) else { return };
    for (input, want) in sinograms(&input).iter().zip(&sinograms(&want)) {
        let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = worst(&remove(&Stripe::parse("ti", "").unwrap(), 48, input), want);
        // They stop at a residual of 1e-7, which α ≈ 1e-3 turns into 1e-4 of q, and round d₁ and d₂ to f32.
        assert!(off <= 2e-6 * largest, "{off:e} of {largest}");
    }
}

/// A smooth object that moves through the sinogram, with a little noise.
fn clean(angles: usize, columns: usize) -> Vec<f32> {
    let noise = Stream::new(3, 9);
    (0..angles * columns)
        .map(|i| {
            let (t, x) = ((i / columns) as f64 / angles as f64, (i % columns) as f64 / columns as f64);
            let centre = 0.5 + 0.2 * (std::f64::consts::PI * t).cos();
            let r = (x - centre) / 0.25;
            (0.5 + 0.4 * (-r * r).exp() + 0.002 * noise.normal(i as u64)) as f32
        })
        .collect()
}

/// Root mean square over the columns 20 … n − 20 of what is constant along θ and narrow along x.
fn stripes(sinogram: &[f32], reference: &[f32], columns: usize) -> f64 {
    let angles = sinogram.len() / columns;
    let mean = |x: usize| -> f64 {
        (0..angles).map(|t| f64::from(sinogram[t * columns + x] - reference[t * columns + x])).sum::<f64>()
            / angles as f64
    };
    let narrow = |x: usize| mean(x) - 0.5 * (mean(x - 2) + mean(x + 2));
    let inner = 20..columns - 20;
    (inner.clone().map(|x| narrow(x) * narrow(x)).sum::<f64>() / inner.len() as f64).sqrt()
}

#[test]
fn planted_stripes_go_and_the_object_stays() {
    for (angles, columns) in [(180, 150), (181, 161)] {
        let object = clean(angles, columns);
        let random = Stream::new(5, 2);
        let offset: Vec<f32> = (0..columns)
            .map(|x| if x % 9 == 4 { 0.05 * (2.0 * random.uniform_f32(x as u64) - 1.0) } else { 0.0 })
            .collect();
        let striped: Vec<f32> = object.iter().enumerate().map(|(i, v)| v + offset[i % columns]).collect();
        let before = stripes(&striped, &object, columns);
        for (name, parameters, left, touched) in
            [("fw", "", 0.4, 0.01), ("vo", "small=5", 0.2, 0.06), ("sf", "size=9", 0.5, 0.02)]
        {
            let method = Stripe::parse(name, parameters).unwrap();
            let after = stripes(&remove(&method, columns, &striped), &object, columns);
            assert!(after < left * before, "{name}: {before:.5} to {after:.5}");
            let harm = worst(&remove(&method, columns, &object), &object);
            assert!(harm < touched, "{name} changes a clean sinogram by {harm}");
        }
        // What theirs leaves of a stripe, and ours does not.
        let plain = |damping| Stripe::FourierWavelet {
            level: Some(5),
            wavelet: Wavelet::parse("db5").unwrap(),
            sigma: 1.0,
            pad: Pad::None,
            damping,
        };
        let even = Stripe::levels(&plain(Damping::Centred), angles, columns) == 5;
        let [ours, theirs] = [Damping::Centred, Damping::Shifted]
            .map(|damping| stripes(&remove(&plain(damping), columns, &striped), &object, columns));
        assert!(even && ours <= theirs * 1.0001, "{ours} {theirs}");
    }
}

#[test]
fn dead_and_large_stripes_are_found() {
    let (angles, columns) = (200, 170);
    let object = clean(angles, columns);
    let random = Stream::new(5, 3);
    let mut striped = object.clone();
    for t in 0..angles {
        striped[t * columns + 60] = random.uniform_f32(t as u64);
        for x in 110..114 {
            striped[t * columns + x] *= 1.3;
        }
    }
    let got = remove(&Stripe::parse("vo", "").unwrap(), columns, &striped);
    let off = |x: usize| -> f32 {
        let sum: f32 = (0..angles).map(|t| (got[t * columns + x] - object[t * columns + x]).abs()).sum();
        sum / angles as f32
    };
    for x in [60, 110, 111, 112, 113] {
        assert!(off(x) < 0.02, "column {x}: {}", off(x));
    }
}

#[test]
fn any_shape_and_any_number_is_harmless() {
    for name in Stripe::NAMES {
        let method = Stripe::parse(name, "").unwrap();
        for (angles, columns) in [(1, 1), (2, 3), (3, 2), (17, 1), (1, 40), (5, 33), (31, 48)] {
            let values: Vec<f32> = (0..angles * columns).map(|i| 1.0 + (i % 7) as f32).collect();
            assert_eq!(remove(&method, columns, &values).len(), values.len());
            let mut spoiled = values.clone();
            spoiled[angles * columns / 2] = f32::NAN;
            assert!(worst(&remove(&method, columns, &spoiled)[..1], &spoiled[..1]) == 0.0 || angles * columns == 1);
            let huge: Vec<f32> = values.iter().map(|v| v * 1e37).collect();
            remove(&method, columns, &huge);
        }
    }
}

#[test]
fn names_and_parameters_are_checked() {
    let wrong = |name: &str, parameters: &str| {
        let error = Stripe::parse(name, parameters).unwrap_err();
        assert_eq!(error.fault().exit_code(), 2);
        format!("{} {}", error.what(), error.advice().unwrap_or_default())
    };
    assert!(wrong("fv", "").contains("'fw'"));
    assert!(wrong("fw", "levle=3").contains("'level'"));
    assert!(wrong("fw", "level=0").contains("1 to 16"));
    assert!(wrong("fw", "sigma=-1").contains("positive"));
    assert!(wrong("vo", "large=20").contains("odd"));
    assert!(wrong("sf", "5").contains("NAME=VALUE"));
    let fw = Stripe::parse("fw", "level=3, wavelet=db5,pad=zero").unwrap();
    assert!(fw.params(10, 10).to_line().contains("\"level\":3"));
    assert!(Stripe::parse("fw", "").unwrap().params(1500, 2048).to_line().contains("\"level\":6"));
}
