//! L1. Small dense linear algebra in f64: rotations, affine maps, normal equations of a few unknowns.
//!
//! A matrix is `[[f64; N]; N]`, rows first: `a[i][j]` is row i, column j. Every sum runs in ascending index with plain
//! + and ×, so the bits depend on the numbers only. N is small (3, 4, 6); nothing here is blocked or threaded.
//!
//! A singular or indefinite matrix is an answer, not a bug: `None`.

/// A square matrix, rows first.
pub type Matrix<const N: usize> = [[f64; N]; N];

/// Σ a·b, ascending.
pub fn dot<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    (0..N).fold(0.0, |sum, i| sum + a[i] * b[i])
}

/// The identity.
pub fn identity<const N: usize>() -> Matrix<N> {
    std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))))
}

/// Aᵀ.
pub fn transpose<const N: usize>(a: &Matrix<N>) -> Matrix<N> {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
}

/// A·B.
pub fn product<const N: usize>(a: &Matrix<N>, b: &Matrix<N>) -> Matrix<N> {
    let columns = transpose(b);
    std::array::from_fn(|i| std::array::from_fn(|j| dot(&a[i], &columns[j])))
}

/// A·x.
pub fn apply<const N: usize>(a: &Matrix<N>, x: &[f64; N]) -> [f64; N] {
    std::array::from_fn(|i| dot(&a[i], x))
}

/// a × b, the vector at right angles to both.
pub fn cross(a: &[f64; 3], b: &[f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// L of A = L·Lᵀ for a symmetric positive definite A, of which the lower triangle is read:
///
///   l_jj = √(a_jj − Σ_k<j l_jk²),   l_ij = (a_ij − Σ_k<j l_ik·l_jk) / l_jj
///
/// `None` if a pivot is not positive beyond rounding (N·ε·a_jj), or anything is not finite.
pub fn cholesky<const N: usize>(a: &Matrix<N>) -> Option<Matrix<N>> {
    let mut l = [[0.0; N]; N];
    for j in 0..N {
        let pivot = (0..j).fold(a[j][j], |sum, k| sum - l[j][k] * l[j][k]);
        // Also false for NaN.
        if !(pivot > N as f64 * f64::EPSILON * a[j][j] && pivot.is_finite()) {
            return None;
        }
        l[j][j] = pivot.sqrt();
        for i in j + 1..N {
            l[i][j] = (0..j).fold(a[i][j], |sum, k| sum - l[i][k] * l[j][k]) / l[j][j];
        }
    }
    Some(l)
}

/// x of A·x = b for a symmetric positive definite A, by [`cholesky`]; `None` as there.
pub fn solve_positive<const N: usize>(a: &Matrix<N>, b: &[f64; N]) -> Option<[f64; N]> {
    let l = cholesky(a)?;
    // L·y = b downwards, then Lᵀ·x = y upwards, in place.
    let mut x = *b;
    for i in 0..N {
        x[i] = (0..i).fold(x[i], |sum, k| sum - l[i][k] * x[k]) / l[i][i];
    }
    for i in (0..N).rev() {
        x[i] = (i + 1..N).fold(x[i], |sum, k| sum - l[k][i] * x[k]) / l[i][i];
    }
    x.iter().all(|x| x.is_finite()).then_some(x)
}

/// A⁻¹ by Gauss and Jordan with row pivoting; `None` if a pivot is not above N·ε times the largest |a_ij|.
pub fn inverse<const N: usize>(a: &Matrix<N>) -> Option<Matrix<N>> {
    let largest = a.iter().flatten().fold(0.0, |m: f64, x| m.max(x.abs()));
    let (mut left, mut right) = (*a, identity::<N>());
    for j in 0..N {
        // The first of the largest: ties do not depend on anything else.
        let p = (j + 1..N).fold(j, |p, i| if left[i][j].abs() > left[p][j].abs() { i } else { p });
        let pivot = left[p][j];
        if !(pivot.abs() > N as f64 * f64::EPSILON * largest && largest.is_finite()) {
            return None;
        }
        left.swap(j, p);
        right.swap(j, p);
        left[j] = left[j].map(|x| x / pivot);
        right[j] = right[j].map(|x| x / pivot);
        for i in (0..N).filter(|&i| i != j) {
            let factor = left[i][j];
            for c in 0..N {
                left[i][c] -= factor * left[j][c];
                right[i][c] -= factor * right[j][c];
            }
        }
    }
    right.iter().flatten().all(|x| x.is_finite()).then_some(right)
}

/// Eigenvalues, ascending, and unit eigenvectors of a symmetric matrix, of which the lower triangle is read:
/// A·vectors[i] = values[i]·vectors[i]. The first component of largest magnitude of a vector is positive.
///
/// Cyclic Jacobi rotations (Golub, Van Loan, Matrix Computations, §8.5): each makes one a_pq zero with
///
///   τ = (a_qq − a_pp) / (2 a_pq),   t = sign τ / (|τ| + √(1 + τ²)),   c = 1/√(1 + t²),   s = t·c
///
/// until none changes the diagonal. `None` if anything is not finite.
pub fn symmetric_eigen<const N: usize>(a: &Matrix<N>) -> Option<([f64; N], Matrix<N>)> {
    /// Convergence is quadratic after a few sweeps; this many are never needed.
    const SWEEPS: usize = 60;
    let mut a: Matrix<N> = std::array::from_fn(|i| std::array::from_fn(|j| a[i.max(j)][i.min(j)]));
    if !a.iter().flatten().all(|x| x.is_finite()) {
        return None;
    }
    let mut v = identity::<N>(); // rows become the eigenvectors
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for p in 0..N {
            for q in p + 1..N {
                if a[p][q].abs()
                    <= f64::EPSILON / 8.0 * (a[p][p].abs().sqrt() * a[q][q].abs().sqrt()).max(f64::MIN_POSITIVE)
                {
                    continue;
                }
                rotated = true;
                let tau = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = if tau < 0.0 { -1.0 } else { 1.0 } / (tau.abs() + (1.0 + tau * tau).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                let s = t * c;
                let turn = |x: f64, y: f64| (c * x - s * y, s * x + c * y);
                for k in 0..N {
                    (a[k][p], a[k][q]) = turn(a[k][p], a[k][q]);
                }
                for k in 0..N {
                    (a[p][k], a[q][k]) = turn(a[p][k], a[q][k]);
                    (v[p][k], v[q][k]) = turn(v[p][k], v[q][k]);
                }
                (a[p][q], a[q][p]) = (0.0, 0.0);
            }
        }
        if !rotated {
            break;
        }
    }
    let mut order: [usize; N] = std::array::from_fn(|i| i);
    order.sort_by(|&i, &j| a[i][i].total_cmp(&a[j][j])); // stable
    let vectors = order.map(|i| {
        let largest = (0..N).fold(0, |m, k| if v[i][k].abs() > v[i][m].abs() { k } else { m });
        if v[i][largest] < 0.0 { v[i].map(|x| -x) } else { v[i] }
    });
    let values = order.map(|i| a[i][i]);
    values.iter().all(|x| x.is_finite()).then_some((values, vectors))
}

#[cfg(test)]
mod tests {
    use super::super::philox::Stream;
    use super::*;

    /// Entries uniform in −1..1.
    fn random<const N: usize>(seed: u64) -> Matrix<N> {
        let s = Stream::new(seed, 0);
        std::array::from_fn(|i| std::array::from_fn(|j| 2.0 * s.uniform_f64((i * N + j) as u64) - 1.0))
    }

    fn largest<const N: usize>(a: &Matrix<N>) -> f64 {
        a.iter().flatten().fold(0.0, |m, x| m.max(x.abs()))
    }

    fn difference<const N: usize>(a: &Matrix<N>, b: &Matrix<N>) -> f64 {
        largest::<N>(&std::array::from_fn(|i| std::array::from_fn(|j| a[i][j] - b[i][j])))
    }

    /// Residuals of all methods on random matrices of one size. The bounds are (N + 1)²·ε times the size of what is
    /// multiplied: N products per entry, each with up to N earlier roundings in it, and those of the check itself.
    fn residuals<const N: usize>() {
        let slack = ((N + 1) * (N + 1)) as f64 * f64::EPSILON;
        for seed in 0..200 {
            let a = random::<N>(seed);
            let inverted = inverse(&a).expect("random matrices are regular");
            let size = largest(&a) * largest(&inverted);
            assert!(
                difference(&product(&a, &inverted), &identity()) <= slack * size * largest(&inverted).max(1.0),
                "{seed}"
            );

            let mut positive = product(&a, &transpose(&a));
            (0..N).for_each(|i| positive[i][i] += 0.1);
            let l = cholesky(&positive).expect("positive by construction");
            assert!(difference(&product(&l, &transpose(&l)), &positive) <= slack * largest(&positive));
            let b = a[0];
            let x = solve_positive(&positive, &b).unwrap();
            let residual: [f64; N] = std::array::from_fn(|i| dot(&positive[i], &x) - b[i]);
            let size = largest(&positive) * x.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            assert!(residual.iter().all(|r| r.abs() <= slack * size), "{seed}: {residual:?}");

            let symmetric: Matrix<N> = std::array::from_fn(|i| std::array::from_fn(|j| a[i][j] + a[j][i]));
            let (values, vectors) = symmetric_eigen(&symmetric).unwrap();
            assert!(values.is_sorted());
            assert!(difference(&product(&vectors, &transpose(&vectors)), &identity()) <= slack);
            for (value, vector) in values.iter().zip(&vectors) {
                let turned = apply(&symmetric, vector);
                assert!((0..N).all(|i| (turned[i] - value * vector[i]).abs() <= 2.0 * slack * largest(&symmetric)));
            }
        }
    }

    #[test]
    fn residuals_are_of_the_size_of_rounding() {
        residuals::<1>();
        residuals::<3>();
        residuals::<4>();
        residuals::<6>();
    }

    #[test]
    fn known_matrices() {
        let (values, vectors) = symmetric_eigen(&[[2.0, 1.0], [1.0, 2.0]]).unwrap();
        assert!((values[0] - 1.0).abs() < 1e-15 && (values[1] - 3.0).abs() < 1e-15);
        assert!((vectors[0][0] - 0.5f64.sqrt()).abs() < 1e-15 && (vectors[0][1] + 0.5f64.sqrt()).abs() < 1e-15);
        // Already diagonal, and equal eigenvalues.
        assert_eq!(symmetric_eigen(&[[3.0, 0.0], [0.0, 2.0]]).unwrap(), ([2.0, 3.0], [[0.0, 1.0], [1.0, 0.0]]));
        assert_eq!(symmetric_eigen(&identity::<3>()).unwrap(), ([1.0; 3], identity()));
        assert_eq!(symmetric_eigen(&[[0.0; 3]; 3]).unwrap().0, [0.0; 3]);
        assert_eq!(inverse(&[[0.0, 2.0], [4.0, 0.0]]), Some([[0.0, 0.25], [0.5, 0.0]]));
        assert_eq!(cross(&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0]), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn what_has_no_answer_is_none() {
        assert_eq!(inverse(&[[1.0, 2.0], [2.0, 4.0]]), None);
        assert_eq!(inverse(&[[0.1, 0.3], [0.7, 2.1]]), None);
        assert_eq!(inverse(&[[f64::NAN]]), None);
        assert_eq!(cholesky(&[[1.0, 0.0], [2.0, 1.0]]), None);
        assert_eq!(solve_positive(&[[0.0]], &[1.0]), None);
        assert_eq!(solve_positive(&[[f64::INFINITY]], &[1.0]), None);
        assert_eq!(symmetric_eigen(&[[1.0, 0.0], [f64::NAN, 1.0]]), None);
    }
}
