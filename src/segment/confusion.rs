//! Truth against prediction: counts, and the figures that follow from them.
//!
//! ```text
//! n_tp   voxels of truth t and prediction p; u_t of truth t without a prediction. Voxels without truth are left out.
//! TP_k = n_kk     FP_k = Σ_{t≠k} n_tk     FN_k = Σ_{p≠k} n_kp + u_k     N = Σ n + Σ u
//!
//! accuracy             Σ TP_k / N
//! IoU_k                TP_k / (TP_k + FP_k + FN_k)
//! foreground IoU       Σ_{k>0} TP_k / (N − n_00)                the authors' "total"
//! precision_k, recall_k     TP_k / (TP_k + FP_k),  TP_k / (TP_k + FN_k)
//! precision, recall    Σ_{k>0} TP_k / Σ_{k>0} (TP_k + FP_k),  … (TP_k + FN_k)      micro, over the foreground
//! macro IoU            mean of IoU_k over classes that truth or prediction has; once of all, once of k > 0
//! ```
//!
//! 0/0 is unknown (`null`), not 0 and not 1. Counts are integers, so no order of slices or threads shows; each quotient is
//! one division in f64, means are summed in ascending k.
//!
//! Source: Jaccard; the authors' metrics code, in which the sum over foreground classes is divided by all but the true
//! background.

use super::UNLABELLED;
use super::classes::Classes;
use crate::json::Json;

/// Counts of truth and prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// n, rows truth.
    counts: Vec<u64>,
    /// u.
    silent: Vec<u64>,
}

impl Confusion {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Confusion {
        Confusion { classes, counts: vec![0; classes * classes], silent: vec![0; classes] }
    }

    /// Counts voxels; the place of the first label or prediction that is no class ends it.
    ///
    /// # Errors
    /// That place.
    pub fn add(&mut self, truth: &[u8], prediction: &[u8]) -> Result<(), usize> {
        let k = self.classes;
        for (i, (&t, &p)) in truth.iter().zip(prediction).enumerate() {
            let (t, p) = (usize::from(t), usize::from(p));
            match (t < k, p < k) {
                (true, true) => self.counts[t * k + p] += 1,
                (true, false) if p == usize::from(UNLABELLED) => self.silent[t] += 1,
                (false, p_known) if t == usize::from(UNLABELLED) && (p_known || p == usize::from(UNLABELLED)) => {}
                _ => return Err(i),
            }
        }
        Ok(())
    }

    /// Adds another's counts.
    pub fn append(&mut self, other: &Confusion) {
        self.add_times(other, 1);
    }

    /// Adds another's counts `n` times.
    pub fn add_times(&mut self, other: &Confusion, n: u64) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += n * b);
        self.silent.iter_mut().zip(&other.silent).for_each(|(a, b)| *a += n * b);
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.classes
    }
    /// n_tp.
    pub fn count(&self, truth: usize, prediction: usize) -> u64 {
        self.counts[truth * self.classes + prediction]
    }
    /// N.
    pub fn total(&self) -> u64 {
        self.counts.iter().chain(&self.silent).sum()
    }
    /// Voxels of a class in the truth.
    pub fn truth(&self, k: usize) -> u64 {
        (0..self.classes).map(|p| self.count(k, p)).sum::<u64>() + self.silent[k]
    }
    /// Voxels of a class in the prediction.
    pub fn predicted(&self, k: usize) -> u64 {
        (0..self.classes).map(|t| self.count(t, k)).sum()
    }

    /// Every figure.
    pub fn figures(&self) -> Figures {
        let all = 0..self.classes;
        let tp = |k: usize| self.count(k, k);
        let iou: Vec<Option<f64>> =
            all.clone().map(|k| ratio(tp(k), self.truth(k) + self.predicted(k) - tp(k))).collect();
        let sum = |of: &dyn Fn(usize) -> u64, from: usize| (from..self.classes).map(of).sum::<u64>();
        let foreground = sum(&tp, 1);
        Figures {
            accuracy: ratio(sum(&tp, 0), self.total()),
            foreground_iou: ratio(foreground, self.total() - if self.classes > 0 { self.count(0, 0) } else { 0 }),
            macro_iou: mean(&iou),
            macro_iou_foreground: mean(iou.get(1..).unwrap_or(&[])),
            precision: ratio(foreground, sum(&|k| self.predicted(k), 1)),
            recall: ratio(foreground, sum(&|k| self.truth(k), 1)),
            class_precision: all.clone().map(|k| ratio(tp(k), self.predicted(k))).collect(),
            class_recall: all.map(|k| ratio(tp(k), self.truth(k))).collect(),
            iou,
        }
    }

    /// For files: the matrix and its margins.
    pub fn to_json(&self) -> Json {
        let k = self.classes;
        let row = |t: usize| Json::Arr((0..k).map(|p| self.count(t, p).into()).collect());
        Json::obj([
            ("rows_truth_columns_prediction", Json::Arr((0..k).map(row).collect())),
            ("without_prediction", Json::Arr(self.silent.iter().map(|&n| n.into()).collect())),
            ("voxels", self.total().into()),
        ])
    }
}

/// a / b, unknown where b is 0.
fn ratio(a: u64, b: u64) -> Option<f64> {
    (b > 0).then(|| a as f64 / b as f64)
}

/// Mean of those that are known.
fn mean(values: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    (!known.is_empty()).then(|| known.iter().fold(0.0, |sum, v| sum + v) / known.len() as f64)
}

/// What is told of a prediction; see the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Part of the voxels that is right.
    pub accuracy: Option<f64>,
    /// The authors' total.
    pub foreground_iou: Option<f64>,
    /// Mean of the classes.
    pub macro_iou: Option<f64>,
    /// Mean of the classes but the background.
    pub macro_iou_foreground: Option<f64>,
    /// Micro, over the foreground.
    pub precision: Option<f64>,
    /// Micro, over the foreground.
    pub recall: Option<f64>,
    /// By class.
    pub iou: Vec<Option<f64>>,
    /// By class.
    pub class_precision: Vec<Option<f64>>,
    /// By class.
    pub class_recall: Vec<Option<f64>>,
}

impl Figures {
    /// Every figure with its name, always in the same order.
    pub fn named(&self, classes: &Classes) -> Vec<(String, Option<f64>)> {
        let mut named: Vec<(String, Option<f64>)> = [
            ("accuracy", self.accuracy),
            ("foreground_iou", self.foreground_iou),
            ("macro_iou", self.macro_iou),
            ("macro_iou_foreground", self.macro_iou_foreground),
            ("precision", self.precision),
            ("recall", self.recall),
        ]
        .map(|(name, v)| (name.to_string(), v))
        .to_vec();
        let of_class = [("iou", &self.iou), ("precision", &self.class_precision), ("recall", &self.class_recall)];
        for (name, values) in of_class {
            named.extend(values.iter().enumerate().map(|(k, &v)| (format!("{name} {}", classes.name(k as u8)), v)));
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Truth and prediction whose figures are worked out by hand below.
    const TRUTH: [u8; 12] = [0, 0, 0, 0, 1, 1, 1, 2, 2, 255, 255, 2];
    const PREDICTION: [u8; 12] = [0, 0, 0, 1, 1, 1, 0, 2, 1, 0, 2, 255];

    fn counted() -> Confusion {
        let mut c = Confusion::new(4);
        c.add(&TRUTH, &PREDICTION).unwrap();
        c
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        let c = counted();
        assert_eq!((c.total(), c.truth(2), c.predicted(1), c.count(2, 1)), (10, 3, 4, 1));
        let f = c.figures();
        assert_eq!(f.accuracy, Some(6.0 / 10.0));
        // Class 0: TP 3, FP 1, FN 1; class 1: TP 2, FP 2, FN 1; class 2: TP 1, FP 0, FN 2 (one of them silent).
        assert_eq!(f.iou, [Some(3.0 / 5.0), Some(2.0 / 5.0), Some(1.0 / 3.0), None]);
        assert_eq!(f.foreground_iou, Some(3.0 / 7.0));
        assert_eq!(f.class_precision, [Some(0.75), Some(0.5), Some(1.0), None]);
        assert_eq!(f.class_recall, [Some(0.75), Some(2.0 / 3.0), Some(1.0 / 3.0), None]);
        assert_eq!((f.precision, f.recall), (Some(3.0 / 5.0), Some(3.0 / 6.0)));
        assert_eq!(f.macro_iou, Some((3.0 / 5.0 + 2.0 / 5.0 + 1.0 / 3.0) / 3.0));
        assert_eq!(f.macro_iou_foreground, Some((2.0 / 5.0 + 1.0 / 3.0) / 2.0));
        let named = f.named(&Classes::cell());
        assert_eq!(named[6], ("iou background".to_string(), Some(0.6)));
        assert_eq!(named.len(), 6 + 3 * 4);
    }

    #[test]
    fn nothing_is_known_of_nothing_and_strangers_are_placed() {
        let f = Confusion::new(3).figures();
        assert_eq!((f.accuracy, f.foreground_iou, f.macro_iou, f.precision), (None, None, None, None));
        assert_eq!(Confusion::new(3).add(&[0, 3], &[0, 0]), Err(1));
        assert_eq!(Confusion::new(3).add(&[0, 255], &[3, 0]), Err(0));
        assert_eq!(Confusion::new(3).add(&[0, 255], &[0, 3]), Err(1), "a stranger where there is no truth is one, too");
    }

    #[test]
    fn parts_add_up_whatever_their_order() {
        let (mut a, mut b) = (Confusion::new(4), Confusion::new(4));
        for i in 0..TRUTH.len() {
            let mut one = Confusion::new(4);
            one.add(&TRUTH[i..=i], &PREDICTION[i..=i]).unwrap();
            a.append(&one);
        }
        for i in (0..TRUTH.len()).rev() {
            b.add(&TRUTH[i..=i], &PREDICTION[i..=i]).unwrap();
        }
        assert_eq!((&a, &b), (&counted(), &counted()));
        let mut twice = Confusion::new(4);
        twice.add_times(&a, 2);
        assert_eq!((twice.total(), twice.figures()), (20, a.figures()));
    }

    /// scikit-learn 1.9.1 on numbers that a short formula makes:
    ///
    /// ```text
    /// t = [(i*i//7+i)%5 for i in range(2000)]; p = [t[i] if i*37%101 < 80 else (i//3)%5 for i in range(2000)]
    /// accuracy_score(t, p); jaccard_score(t, p, average=None); jaccard_score(t, p, average='macro')
    /// precision_score(t, p, labels=[1,2,3,4], average='micro'); recall_score(the same)
    /// precision_score(t, p, average=None); recall_score(t, p, average=None)
    /// ```
    #[test]
    fn figures_are_those_of_scikit_learn() {
        let t: Vec<u8> = (0..2000u64).map(|i| ((i * i / 7 + i) % 5) as u8).collect();
        let p: Vec<u8> =
            (0..2000u64).map(|i| if i * 37 % 101 < 80 { t[i as usize] } else { (i / 3 % 5) as u8 }).collect();
        let mut c = Confusion::new(5);
        c.add(&t, &p).unwrap();
        let f = c.figures();
        let close = |got: Option<f64>, want: f64| assert!((got.unwrap() - want).abs() < 1e-15, "{got:?} {want}");
        close(f.accuracy, 0.8285);
        close(f.macro_iou, 0.6961766602192134);
        close(f.precision, 0.8488170802077323);
        close(f.recall, 0.8306041784302653);
        let iou = [0.6, 0.6666666666666666, 0.75, 0.7272727272727273, 0.7369439071566731];
        f.iou.iter().zip(iou).for_each(|(&got, want)| close(got, want));
        let precision =
            [0.6966292134831461, 0.7811634349030471, 0.8744939271255061, 0.8604118993135011, 0.8639455782312925];
        f.class_precision.iter().zip(precision).for_each(|(&got, want)| close(got, want));
        let recall =
            [0.8122270742358079, 0.8197674418604651, 0.8404669260700389, 0.8245614035087719, 0.8336980306345733];
        f.class_recall.iter().zip(recall).for_each(|(&got, want)| close(got, want));
        // c = confusion_matrix(t, p); (trace(c) - c[0, 0]) / (c.sum() - c[0, 0])
        close(f.foreground_iou, 0.8109151047409041);
    }
}
