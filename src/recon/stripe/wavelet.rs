//! Orthogonal wavelets, and one level of the transform of an image along one axis, sixteen signals at a time.
//!
//! ```text
//! analysis    c[k] = Σ_j f[j] x[2k + 1 − j],   k = 0 … ⌊(n + L − 1)/2⌋ − 1,   x mirrored about its ends (half-sample)
//! synthesis   x[i] = Σ_k (g[i + L − 2 − 2k] a[k] + h[i + L − 2 − 2k] d[k]),    i = 0 … 2K − L + 1
//! ```
//!
//! With h_rec the low-pass of length L: synthesis low g = h_rec, analysis low f[j] = h_rec[L−1−j], analysis high
//! f[j] = (−1)^(j+1) h_rec[j], synthesis high h[j] = its reverse. Conventions and extension are those of PyWavelets'
//! mode `symmetric`. Sums run over j, or over k, ascending.
//!
//! The table's numbers are PyWavelets' (`pywt.Wavelet(NAME).rec_lo`; Daubechies, Ten Lectures on Wavelets, 1992).

use crate::error::{Error, Result, nearest};
use crate::num::lanes::{F32x16, LANES, Lane};

/// A wavelet by its synthesis low-pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wavelet {
    name: &'static str,
    low: &'static [f64],
}

impl Wavelet {
    /// The wavelet of a name: haar, db1 … db10, sym2 … sym10, sym16.
    ///
    /// # Errors
    /// A usage error for any other.
    pub fn parse(name: &str) -> Result<Wavelet> {
        // These are the same filters.
        let same = match name {
            "haar" => "db1",
            "sym2" => "db2",
            "sym3" => "db3",
            other => other,
        };
        if let Some((name, low)) = LOW.iter().find(|(known, _)| *known == same) {
            return Ok(Wavelet { name, low });
        }
        let hint =
            nearest(name, LOW.iter().map(|(n, _)| *n)).map(|n| format!("did you mean '{n}'? ")).unwrap_or_default();
        Err(Error::usage(format!("unknown wavelet '{name}'"))
            .help(format!("{hint}known: haar, db1 to db10, sym2 to sym10, sym16")))
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }
    /// Number of coefficients L.
    pub fn length(self) -> usize {
        self.low.len()
    }
    /// Analysis filters: low, high.
    pub fn analysis(self) -> [Vec<f32>; 2] {
        let sign = |j: usize| if j.is_multiple_of(2) { -1.0 } else { 1.0 };
        [
            self.low.iter().rev().map(|&v| v as f32).collect(),
            self.low.iter().enumerate().map(|(j, &v)| (sign(j) * v) as f32).collect(),
        ]
    }
    /// Synthesis filters: low, high.
    pub fn synthesis(self) -> [Vec<f32>; 2] {
        self.analysis().map(|filter| filter.into_iter().rev().collect())
    }
}

/// Coefficients of a signal of n values.
pub fn coefficients(n: usize, length: usize) -> usize {
    (n + length - 1) / 2
}

/// Values that K coefficients make.
pub fn values(coefficients: usize, length: usize) -> usize {
    (2 * coefficients + 2).saturating_sub(length)
}

/// Place of x[i] in a signal of n values that is mirrored about its ends without end.
pub fn mirrored(i: isize, n: usize) -> usize {
    let place = i.rem_euclid(2 * n as isize) as usize;
    place.min(2 * n - 1 - place)
}

/// One analysis sum for sixteen signals; `at(i)` is x[i] of them all, a function of the place already mirrored.
#[inline(always)]
pub fn analyse<V: F32x16>(filter: &[f32], x: &[Lane], stride: usize, n: usize, k: usize) -> V {
    let mut sum = V::splat(0.0);
    let last = 2 * k + 1;
    if last < n && last + 1 >= filter.len() {
        for (j, &f) in filter.iter().enumerate() {
            sum = V::load(&x[(last - j) * stride]).mul_add(V::splat(f), sum);
        }
        return sum;
    }
    for (j, &f) in filter.iter().enumerate() {
        let place = mirrored(last as isize - j as isize, n);
        sum = V::load(&x[place * stride]).mul_add(V::splat(f), sum);
    }
    sum
}

/// One synthesis sum for sixteen signals, added to `sum`.
#[inline(always)]
pub fn synthesise<V: F32x16>(filter: &[f32], c: &[Lane], stride: usize, k_count: usize, i: usize, mut sum: V) -> V {
    let length = filter.len();
    let place = i + length - 2;
    // 0 ≤ place − 2k ≤ L − 1
    let first = (place + 1).saturating_sub(length).div_ceil(2);
    let last = (place / 2).min(k_count.saturating_sub(1));
    for k in first..=last {
        sum = V::load(&c[k * stride]).mul_add(V::splat(filter[place - 2 * k]), sum);
    }
    sum
}

/// Sixteen rows of an image (fewer at its end) turned into a column of lanes: lane r of cell x is row r's x.
#[inline(always)]
pub fn gather<V: F32x16>(image: &[Lane], stride: usize, rows: usize, width: usize, out: &mut [Lane]) {
    let mut block = [Lane::ZERO; LANES];
    for (piece, cells) in out[..width.div_ceil(LANES) * LANES].chunks_exact_mut(LANES).enumerate() {
        for (row, lane) in block.iter_mut().enumerate() {
            *lane = if row < rows { image[row * stride + piece] } else { Lane::ZERO };
        }
        V::transpose(&mut block);
        cells.copy_from_slice(&block);
    }
}

/// The reverse of [`gather`].
#[inline(always)]
pub fn scatter<V: F32x16>(cells: &[Lane], image: &mut [Lane], stride: usize, rows: usize, width: usize) {
    let mut block = [Lane::ZERO; LANES];
    for (piece, cells) in cells[..width.div_ceil(LANES) * LANES].chunks_exact(LANES).enumerate() {
        block.copy_from_slice(cells);
        V::transpose(&mut block);
        for (row, lane) in block.iter().take(rows).enumerate() {
            image[row * stride + piece] = *lane;
        }
    }
}

/// h_rec of every wavelet.
#[rustfmt::skip]
const LOW: [(&str, &[f64]); 18] = [
    ("db1", &[std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::FRAC_1_SQRT_2]),
    ("db2", &[0.48296291314453416, 0.8365163037378079, 0.2241438680420134, -0.12940952255126037]),
    ("db3", &[0.33267055295008263, 0.8068915093110925, 0.45987750211849154, -0.13501102001025458, -0.08544127388202666, 0.03522629188570953]),
    ("db4", &[0.2303778133088965, 0.7148465705529157, 0.6308807679298589, -0.027983769416859854, -0.18703481171909309, 0.030841381835560764, 0.0328830116668852, -0.010597401785069032]),
    ("db5", &[0.16010239797419293, 0.6038292697971896, 0.7243085284377729, 0.13842814590132074, -0.24229488706638203, -0.032244869584638375, 0.07757149384004572, -0.006241490212798274, -0.012580751999081999, 0.0033357252854737712]),
    ("db6", &[0.11154074335010947, 0.49462389039845306, 0.7511339080210954, 0.31525035170919763, -0.22626469396543983, -0.12976686756726194, 0.09750160558732304, 0.027522865530305727, -0.03158203931748603, 0.0005538422011614961, 0.004777257510945511, -0.0010773010853084796]),
    ("db7", &[0.07785205408500918, 0.3965393194819173, 0.7291320908462351, 0.4697822874051931, -0.14390600392856498, -0.22403618499387498, 0.07130921926683026, 0.08061260915108308, -0.03802993693501441, -0.01657454163066688, 0.01255099855609984, 0.0004295779729213665, -0.0018016407040474908, 0.00035371379997452024]),
    ("db8", &[0.05441584224310401, 0.31287159091429995, 0.6756307362972898, 0.5853546836542067, -0.015829105256349306, -0.2840155429615469, 0.0004724845739132828, 0.12874742662047847, -0.017369301001807547, -0.044088253930794755, 0.013981027917398282, 0.008746094047405777, -0.004870352993451574, -0.00039174037337694705, 0.0006754494064505693, -0.00011747678412476953]),
    ("db9", &[0.038077947363878345, 0.24383467461259034, 0.6048231236901112, 0.6572880780513005, 0.13319738582500756, -0.2932737832791749, -0.09684078322297646, 0.14854074933810638, 0.03072568147933338, -0.06763282906132997, 0.00025094711483145197, 0.022361662123679096, -0.004723204757751397, -0.00428150368246343, 0.0018476468830562265, 0.00023038576352319597, -0.0002519631889427101, 3.93473203162716e-05]),
    ("db10", &[0.026670057900555554, 0.1881768000776915, 0.5272011889317256, 0.6884590394536035, 0.2811723436605775, -0.24984642432731538, -0.19594627437737705, 0.12736934033579325, 0.09305736460357235, -0.07139414716639708, -0.029457536821875813, 0.033212674059341, 0.0036065535669561697, -0.010733175483330575, 0.001395351747052901, 0.001992405295185056, -0.0006858566949597116, -0.00011646685512928545, 9.358867032006959e-05, -1.3264202894521244e-05]),
    ("sym4", &[0.0322231006040427, -0.012603967262037833, -0.09921954357684722, 0.29785779560527736, 0.8037387518059161, 0.49761866763201545, -0.02963552764599851, -0.07576571478927333]),
    ("sym5", &[0.019538882735286728, -0.021101834024758855, -0.17532808990845047, 0.01660210576452232, 0.6339789634582119, 0.7234076904024206, 0.1993975339773936, -0.039134249302383094, 0.029519490925774643, 0.027333068345077982]),
    ("sym6", &[-0.007800708325034148, 0.0017677118642428036, 0.04472490177066578, -0.021060292512300564, -0.07263752278646252, 0.3379294217276218, 0.787641141030194, 0.4910559419267466, -0.048311742585633, -0.11799011114819057, 0.0034907120842174702, 0.015404109327027373]),
    ("sym7", &[0.010268176708511255, 0.004010244871533663, -0.10780823770381774, -0.14004724044296152, 0.2886296317515146, 0.767764317003164, 0.5361019170917628, 0.017441255086855827, -0.049552834937127255, 0.0678926935013727, 0.03051551316596357, -0.01263630340325193, -0.0010473848886829163, 0.002681814568257878]),
    ("sym8", &[0.0018899503327594609, -0.0003029205147213668, -0.01495225833704823, 0.003808752013890615, 0.049137179673607506, -0.027219029917056003, -0.05194583810770904, 0.3644418948353314, 0.7771857517005235, 0.4813596512583722, -0.061273359067658524, -0.1432942383508097, 0.007607487324917605, 0.03169508781149298, -0.0005421323317911481, -0.0033824159510061256]),
    ("sym9", &[0.0010694900329086053, -0.0004731544986800831, -0.010264064027633142, 0.008859267493400484, 0.06207778930288603, -0.018233770779395985, -0.19155083129728512, 0.035272488035271894, 0.6173384491409358, 0.717897082764412, 0.238760914607303, -0.05456895843083407, 0.0005834627461258068, 0.03022487885827568, -0.01152821020767923, -0.013271967781817119, 0.0006197808889855868, 0.0014009155259146807]),
    ("sym10", &[-0.0004593294210046588, 5.7036083618494284e-05, 0.004593173585311828, -0.0008043589320165449, -0.02035493981231129, 0.005764912033581909, 0.04999497207737669, -0.0319900568824278, -0.03553674047381755, 0.38382676106708546, 0.7695100370211071, 0.47169066693843925, -0.07088053578324385, -0.15949427888491757, 0.011609893903711381, 0.0459272392310922, -0.0014653825813050513, -0.008641299277022422, 9.563267072289475e-05, 0.0007701598091144901]),
    ("sym16", &[-1.0797982104319795e-05, -5.396483179315242e-06, 0.00016545679579108483, 3.656592483348223e-05, -0.0013387206066921965, -0.00022211647621176323, 0.0069377611308027096, 0.001359844742484172, -0.024952758046290123, -0.003510275068374009, 0.07803785290341991, 0.03072113906330156, -0.15959219218520598, -0.054040601387606135, 0.47534280601152273, 0.7565249878756971, 0.39712293362064416, -0.034574228416972504, -0.06698304907021778, 0.032333091610663785, 0.004869274404904607, -0.031051202843553064, -0.0031265171722710075, 0.012666731659857348, 0.0007182119788317892, -0.0038809122526038786, -0.0001084456223089688, 0.0008523547108047095, 2.8078582128442894e-05, -0.00010943147929529757, -3.113556407621969e-06, 6.230006701220761e-06]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_orthonormal_and_blind_to_polynomials() {
        for (name, low) in &LOW {
            let n = low.len();
            for shift in (0..n).step_by(2) {
                let dot: f64 = (shift..n).map(|j| low[j] * low[j - shift]).sum();
                assert!((dot - if shift == 0 { 1.0 } else { 0.0 }).abs() < 1e-9, "{name} {shift}: {dot}");
            }
            // A wavelet of 2p coefficients has p vanishing moments; higher ones lose digits to cancellation.
            for power in 0..(n / 2).min(4) {
                let moment: f64 = (0..n)
                    .map(|j| if j.is_multiple_of(2) { -1.0 } else { 1.0 } * low[j] * (j as f64).powi(power as i32))
                    .sum();
                assert!(moment.abs() < 1e-6 * (n as f64).powi(power as i32), "{name} moment {power}: {moment}");
            }
        }
        assert_eq!(Wavelet::parse("haar").unwrap(), Wavelet::parse("db1").unwrap());
        let error = Wavelet::parse("sim16").unwrap_err();
        assert!(error.advice().unwrap().contains("sym16"), "{error:?}");
    }

    #[test]
    fn mirrors_have_no_end() {
        let places: Vec<usize> = (-7..8).map(|i| mirrored(i, 3)).collect();
        assert_eq!(places, [0, 0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
        assert_eq!(mirrored(-5, 1), 0);
    }
}
