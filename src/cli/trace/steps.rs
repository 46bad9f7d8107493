//! The steps as files, the table of their errors, and their explanation in plain words.

use crate::cli::picture::Picture;
use crate::error::Result;
use crate::recon::trace::Step as Kind;
use crate::recon::trace::{Check, Trace};

/// The explanation.
pub const README: &str = "README.txt";

/// Names of the files, each a `.npy` and a `.png`, in the order of the steps.
pub const NAMES: [&str; 12] = [
    "00_sinogram",
    "01_filter",
    "02_padded_row",
    "03_spectrum",
    "04_spectra",
    "05_weights",
    "06_density",
    "07_grid",
    "08_columns",
    "09_deapodisation",
    "10_inverse",
    "11_image",
];

/// One step to be written.
pub struct Step {
    /// Name of its files.
    pub name: &'static str,
    /// Shape of the array.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
    /// How it looks.
    pub picture: Picture,
}

/// The files of a step of the table.
fn name(step: Kind) -> &'static str {
    NAMES[match step {
        Kind::Filter => 1,
        Kind::PaddedRow => 2,
        Kind::Spectrum => 4,
        Kind::Weights => 5,
        Kind::Density => 6,
        Kind::Grid => 7,
        Kind::Columns => 8,
        Kind::Deapodisation => 9,
        Kind::Inverse => 10,
        Kind::Image => 11,
    }]
}

/// All steps with their pictures.
pub fn all(trace: &Trace, sinogram: &[f32]) -> Result<Vec<Step>> {
    let (n, p, m) = (trace.columns, trace.padded, trace.choice.grid);
    let (half, angles) = (p / 2 + 1, sinogram.len() / n);
    let flat = |cells: &[[f32; 2]]| -> Vec<f32> { cells.iter().flatten().copied().collect() };
    let magnitudes = |cells: &[[f32; 2]]| -> Vec<f64> { cells.iter().copied().map(magnitude).collect() };
    let row = &trace.rows[trace.shown * p..(trace.shown + 1) * p];
    let spectrum = &trace.spectra[trace.shown * half..(trace.shown + 1) * half];
    let (along_u, along_v) = trace.taps.weights.split_at(trace.taps.weights.len() / 2);
    let width = along_u.len();
    // v upward, as in the plane.
    let product = along_v.iter().rev().flat_map(|b| along_u.iter().map(move |a| a * b));
    let density = |u: usize, v: usize| f64::from(trace.density[u * m + v].abs());
    let grid = |u: usize, v: usize| magnitude(trace.grid[u * m + v]);
    let columns = (0..n).flat_map(|r| (0..m).map(move |i| (r, i)));
    let columns: Vec<f64> = columns.map(|(r, i)| magnitude(trace.half_plane[i.abs_diff(m / 2) * n + r])).collect();
    let inside = m / 2 + 1;

    let parts: [(Vec<usize>, Vec<f32>, Picture); 12] = [
        (vec![angles, n], sinogram.to_vec(), Picture::linear(sinogram, n, "SINOGRAM (ANGLE DOWN, COLUMN RIGHT)")?),
        (vec![half], trace.filter.clone(), Picture::curve(&trace.filter, &format!("FILTER B, K = 0 TO {}", half - 1))),
        (
            vec![p],
            row.to_vec(),
            Picture::curve(row, &format!("PROJECTION {} AND ZEROS, J = 0 TO {}", trace.shown, p - 1)),
        ),
        (
            vec![half, 2],
            flat(spectrum),
            Picture::logarithmic_curve(&magnitudes(spectrum), &format!("LOG10 ABS F OF PROJECTION {}", trace.shown)),
        ),
        (
            vec![angles, half, 2],
            flat(&trace.spectra),
            Picture::logarithmic(&magnitudes(&trace.spectra), half, "LOG10 ABS F (ANGLE DOWN, K RIGHT)")?,
        ),
        (
            vec![2, width],
            trace.taps.weights.clone(),
            Picture::linear(&product.collect::<Vec<f32>>(), width, "WEIGHTS AROUND ONE SAMPLE")?,
        ),
        (
            vec![inside, m],
            trace.density.clone(),
            Picture::logarithmic(&plane(m, density), m, "LOG10 OF THE SUM OF WEIGHTS (U RIGHT, V UP)")?,
        ),
        (
            vec![inside, m, 2],
            flat(&trace.grid),
            Picture::logarithmic(&plane(m, grid), m, "LOG10 ABS H (U RIGHT, V UP)")?,
        ),
        (
            vec![inside, n, 2],
            flat(&trace.half_plane),
            Picture::logarithmic(&columns, m, "LOG10 ABS R (U RIGHT, IMAGE ROW DOWN)")?,
        ),
        (
            vec![2, n],
            trace.deapodisation.concat(),
            Picture::curve(&trace.deapodisation[0], &format!("D BY IMAGE COLUMN, 0 TO {}", n - 1)),
        ),
        (vec![n, n], trace.inverse.clone(), Picture::linear(&trace.inverse, n, "BEFORE DEAPODISATION")?),
        (vec![n, n], trace.image.clone(), Picture::linear(&trace.image, n, "IMAGE")?),
    ];
    let step = |(name, (shape, values, picture))| Step { name, shape, values, picture };
    Ok(NAMES.into_iter().zip(parts).map(step).collect())
}

fn magnitude([re, im]: [f32; 2]) -> f64 {
    let (re, im) = (f64::from(re), f64::from(im));
    (re * re + im * im).sqrt()
}

/// The whole plane from its half, zero frequency in the middle, V upward: magnitudes at (−U, −V) and (U, V) are equal.
fn plane(m: usize, at: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let middle = m / 2;
    (0..m * m)
        .map(|i| {
            let (row, column) = (i / m, i % m);
            // V = middle − row and U = column − middle, modulo M.
            let v = (middle + m - row) % m;
            if column >= middle { at(column - middle, v) } else { at(middle - column, (m - v) % m) }
        })
        .collect()
}

/// The errors of all steps.
pub fn table(trace: &Trace) -> String {
    let line = |step: &str, definition: &str, compared: &str, l2: &str, max: &str| {
        format!("{step:<16}  {definition:<54}  {compared:<22}  {l2:>8}  {max:>8}\n")
    };
    let row = |c: &Check| {
        let figure = |v: f64| format!("{v:.1e}");
        line(name(c.step), c.definition, &c.compared, &figure(c.deviation.l2), &figure(c.deviation.max))
    };
    let head = line("step", "held against (f64)", "compared", "rel. L2", "max/max");
    head + &trace.checks.iter().map(row).collect::<String>()
}

/// Every step in plain words. `metric`: whether the image is in 1/cm.
pub fn explain(trace: &Trace, what: &str, center: f64, filter: &str, metric: bool) -> String {
    let (n, p, m) = (trace.columns, trace.padded, trace.choice.grid);
    let (half, width, beta) = (p / 2, trace.choice.kernel.width, trace.choice.kernel.beta);
    let (shown, angles) = (trace.shown, trace.rows.len() / p);
    let unit = if metric { "1/cm" } else { "per detector pixel" };
    let [pu, pv] = trace.taps.position;
    let (sample, alias) = (trace.taps.sample, trace.choice.alias);
    format!(
        "\
HOW GRIDREC MAKES A SLICE, STEP BY STEP

Traced: {what}
  N = {n} detector columns, {angles} projections, axis c = {center} (pixel index), filter {filter}
  P = {p}: length of a projection after padding, the next 2^a 3^b 5^c from 2N - 1 on
  M = {m}: length of the grid; kernel of W = {width} cells; aliasing at the edge of the field {alias:.1e}
Each step is a .npy (32-bit floats; a last axis of length 2 is real, imaginary) and a .png of the same name.

The idea: the Fourier transform of a projection is a slice through the 2-D Fourier transform of the object, through
its middle, at the projection's angle (Fourier slice theorem). So: transform every projection, lay the spectra down as
the spokes of a wheel, and transform the plane back. The rest is care: spokes do not meet the grid of the FFT.

00_sinogram        p[angle][j]
    The measured line integrals of the absorption, one line per projection.

01_filter          B[k] = window(k/P) * sum over n of r[n] exp(-2 pi i k n / P),  k = 0 ... {half}
    The spokes are dense near the middle and sparse outside; the ramp |frequency| makes up for it. It is the transform
    of the band-limited ramp's samples r[0] = 1/4, r[n] = -1/(pi n)^2 for odd n, else 0, and not |k| itself, which
    would be 0 at k = 0 and darken the whole image. The window weakens high frequencies, where noise is strongest.

02_padded_row      p[j] for j < N, then zeros up to P        (shown: projection {shown})
    A product of spectra is a circular convolution; the zeros keep one end of the detector away from the other.

03_spectrum        F[k] = (B[k]/P) exp(2 pi i k c/P) * sum over j of p[j] exp(-2 pi i j k / P)
04_spectra         the same for all projections
    Spectrum, times filter, times the phase that moves the rotation axis c to the origin. Only k >= 0 is kept: a real
    signal has F[-k] = conjugate of F[k]. The ends k = 0 and P/2 count half, since both halves of the ray hold them.

05_weights         phi(t) = I0(beta sqrt(1 - (2t/W)^2)) / I0(beta),  |t| <= W/2,  beta = {beta:.3}
    A sample lies between grid cells, at (U, V) = k (M/P) (cos angle, sin angle). It is spread over W x W cells with
    the weights phi(u - U) * phi(v - V), times the angle's own weight (half the gaps to its neighbours, in radians).
    Shown: k = {sample} of projection {shown}, at U = {pu:.3}, V = {pv:.3}; the .npy has the weights along u, then along v.

06_density         the grid if every sample were 1
    Where the data lies. Near the middle the spokes overlap; beyond, gaps open between them: too few projections show
    up as streaks. The half plane u = 0 ... M/2 is stored [u][v], v = 0 ... M - 1; the picture shows the whole plane,
    zero in the middle.

07_grid            H[u][v] = sum over angles and k of weight * F[k] phi(u - U) phi(v - V)
    The object's 2-D spectrum on the FFT's grid. Opposite frequencies are conjugates, so half of it is enough.

08_columns         R[u][row] = d[row] * sum over v of H[u][v] exp(2 pi i v Y / M)
    The first half of the inverse 2-D transform, along v, for the image's rows only. Halfway between spectrum and image.

09_deapodisation   d[x] = 1 / integral of phi(t) cos(2 pi t x / M) dt        (by column, then by row)
    Spreading with phi in the spectrum has multiplied the image by phi's transform: bright in the middle, dark
    outside. Dividing by it undoes that exactly; d by row has been applied in step 08 already. d by column carries
    the unit of the image too.

10_inverse         g = both transforms of H, without any d
    What the image would be without step 09: too large everywhere by the square of the kernel's sum, and shaded
    towards the edges.

11_image           f[row][column] = d[column] * sum over u of R[u][row] exp(2 pi i u X / M)
    The slice, attenuation {unit}. Pixel (row, column) is at X = column - axis column, Y = axis row - row.

HOW WELL

Each step is compared with its definition, summed term by term in 64-bit floats without any fast transform. Relative L2
is sqrt(sum of squared errors / sum of squared values), max/max the largest error over the largest value. All lines but
the last start from what the step before handed over: they show the rounding of 32-bit floats, which is 6e-8 for one
operation and grows in two places. The spectra's is that of the whole transform, and the filter then takes away most of
what was large in it. In the middle of the grid thousands of numbers of one sign are added one after the other. The last
line starts from the projections and evaluates the exact trigonometric sum at the pixels, without any grid: it is the
error of the whole, gridding included.

"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plane_is_symmetric_about_its_middle() {
        // One wave at U = 1, V = 2 of M = 8: it and its opposite appear, V upward.
        let m = 8;
        let all = plane(m, |u, v| if (u, v) == (1, 2) { 1.0 } else { 0.0 });
        let places: Vec<_> = (0..m * m).filter(|&i| all[i] > 0.0).map(|i| (i / m, i % m)).collect();
        assert_eq!(places, [(2, 5), (6, 3)]);
    }
}
