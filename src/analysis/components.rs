//! Connected components of a volume that is never in memory: slices come once to be joined, and once more to be told
//! apart.
//!
//! ```text
//! run         voxels of one row that are next to each other and inside the mask
//! pass 1      run i joins every earlier run that it touches: of its own slice's last row, of the slice before
//! pass 2      the same slices make the same runs in the same order: run i is in the component of run i
//! number      components count from 0 in the order of their first voxel, z slowest, x fastest
//! neighbours  6: faces    18: and edges    26: and corners        gap g: voxels whose largest coordinate distance is ≤ g + 1
//! ```
//!
//! With a gap voxels are grown by a cube of g + 1 towards larger x, y, z: two grown voxels touch at a corner if and only if
//! the voxels themselves are at most g + 1 apart. Memory: 4 bytes per run, and a few slices.
//!
//! A union-find by the smaller index, with halving of paths: no label depends on slabs or threads.
//! Source: Rosenfeld and Pfaltz 1966; runs as in He, Chao, Suzuki 2008.

use std::collections::VecDeque;

/// Which voxels are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// Faces.
    Six,
    /// Faces and edges.
    Eighteen,
    /// Faces, edges and corners.
    TwentySix,
    /// At most this many voxels between them, along x, y and z; 0 is [`Neighbours::TwentySix`].
    Gap(usize),
}

/// A run: its row, its first voxel, the one after its last.
type Run = (u32, u32, u32);

/// The runs of a slice of rows of `nx`.
fn runs(mask: &[bool], nx: usize, out: &mut Vec<Run>) {
    out.clear();
    for (y, row) in mask.chunks_exact(nx).enumerate() {
        let mut x = 0;
        while x < nx {
            if row[x] {
                let from = x;
                x += row[x..].iter().take_while(|&&m| m).count();
                out.push((y as u32, from as u32, x as u32));
            } else {
                x += 1;
            }
        }
    }
}

/// Slices grown by a cube of `edge` towards larger indices.
struct Growth {
    edge: usize,
    /// The last slices, grown within themselves.
    last: VecDeque<Vec<bool>>,
}

impl Growth {
    fn grow(&mut self, mask: &[bool], nx: usize) -> Vec<bool> {
        let mut grown = mask.to_vec();
        for row in grown.chunks_exact_mut(nx) {
            let mut left = 0;
            for voxel in row {
                left = if *voxel { self.edge } else { left.saturating_sub(1) };
                *voxel = left > 0;
            }
        }
        let rows = grown.clone();
        for back in 1..self.edge.min(mask.len() / nx) {
            grown[back * nx..].iter_mut().zip(&rows).for_each(|(g, r)| *g |= r);
        }
        let mut out = grown.clone();
        self.last.iter().for_each(|slice| out.iter_mut().zip(slice).for_each(|(o, s)| *o |= s));
        self.last.push_back(grown);
        if self.last.len() + 1 > self.edge {
            self.last.pop_front();
        }
        out
    }
}

/// Pass 1.
pub struct Joining {
    nx: usize,
    neighbours: Neighbours,
    growth: Option<Growth>,
    parent: Vec<u32>,
    /// What the voxels of a run and of all that joined it bear: bits, or-ed at the root.
    marks: Vec<u8>,
    /// Runs of the slice before and the index of its first.
    before: Vec<Run>,
    first: usize,
}

impl Joining {
    /// Nothing joined yet; rows have `nx` voxels.
    pub fn new(nx: usize, neighbours: Neighbours) -> Joining {
        let growth = match neighbours {
            Neighbours::Gap(g) if g > 0 => Some(Growth { edge: g + 1, last: VecDeque::new() }),
            _ => None,
        };
        Joining { nx, neighbours, growth, parent: Vec::new(), marks: Vec::new(), before: Vec::new(), first: 0 }
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.parent[i] as usize != i {
            let up = self.parent[self.parent[i] as usize];
            self.parent[i] = up;
            i = up as usize;
        }
        i
    }
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.parent[high] = low as u32;
        self.marks[low] |= self.marks[high];
    }

    /// Adds the next slice. `marks` are bits that voxels bear; only those inside the mask count.
    ///
    /// # Panics
    /// Beyond 2³² − 1 runs.
    pub fn slice(&mut self, mask: &[bool], marks: &[u8]) {
        let nx = self.nx;
        let grown = self.growth.as_mut().map(|growth| growth.grow(mask, nx));
        let inside = grown.as_deref().unwrap_or(mask);
        let mut now = Vec::new();
        runs(inside, nx, &mut now);
        let start = self.parent.len();
        assert!(start + now.len() < u32::MAX as usize, "more runs than can be numbered");
        for (i, &(y, from, to)) in now.iter().enumerate() {
            self.parent.push((start + i) as u32);
            // A grown voxel bears nothing: what it stands for does.
            let span = y as usize * nx + from as usize..y as usize * nx + to as usize;
            let bits = span.filter(|&k| mask[k]).fold(0, |bits, k| bits | marks[k]);
            self.marks.push(bits);
        }
        // Reach along x in the row before of the same slice, and in the rows y − 1, y, y + 1 of the slice before.
        let (same, near, straight) = match self.neighbours {
            Neighbours::Six => (0, None, 0),
            Neighbours::Eighteen => (1, Some(0), 1),
            Neighbours::TwentySix | Neighbours::Gap(_) => (1, Some(1), 1),
        };
        self.touch(&now, start, None, -1, same);
        let before = std::mem::take(&mut self.before);
        for (dy, reach) in [(-1, near), (0, Some(straight)), (1, near)] {
            if let Some(reach) = reach {
                self.touch(&now, start, Some(&before), dy, reach);
            }
        }
        self.first = start;
        self.before = now;
    }

    /// Joins the runs of `now` with those of the slice before (or of their own) whose row is theirs + `dy`, and whose
    /// voxels are within `reach` along x.
    fn touch(&mut self, now: &[Run], start: usize, other: Option<&[Run]>, dy: i64, reach: u32) {
        let (others, first) = other.map_or((now, start), |o| (o, self.first));
        let mut j = 0;
        for (i, &(y, from, to)) in now.iter().enumerate() {
            let Ok(row) = u32::try_from(i64::from(y) + dy) else { continue };
            // Both lists ascend: what ends before this run begins is behind for all later ones, too.
            while j < others.len() && (others[j].0 < row || others[j].0 == row && others[j].2 + reach <= from) {
                j += 1;
            }
            let mut k = j;
            while k < others.len() && others[k].0 == row && others[k].1 < to + reach {
                self.join(start + i, first + k);
                k += 1;
            }
        }
    }

    /// The components.
    pub fn finish(mut self) -> Components {
        let mut number = vec![0u32; self.parent.len()];
        let mut marks = Vec::new();
        for i in 0..self.parent.len() {
            let root = self.root(i);
            if root == i {
                number[i] = marks.len() as u32;
                marks.push(self.marks[i]);
            } else {
                number[i] = number[root];
            }
        }
        let growth = self.growth.map(|g| Growth { edge: g.edge, last: VecDeque::new() });
        Components { nx: self.nx, growth, of_run: number, marks, next: 0 }
    }
}

/// Components, ready for pass 2.
pub struct Components {
    nx: usize,
    growth: Option<Growth>,
    of_run: Vec<u32>,
    marks: Vec<u8>,
    next: usize,
}

impl Components {
    /// How many.
    pub fn len(&self) -> usize {
        self.marks.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }
    /// What the voxels of a component bear.
    pub fn marks(&self, component: u32) -> u8 {
        self.marks[component as usize]
    }

    /// Component of every voxel of the next slice, in the order of pass 1; `u32::MAX` outside of the mask.
    pub fn slice(&mut self, mask: &[bool], out: &mut Vec<u32>) {
        let nx = self.nx;
        let grown = self.growth.as_mut().map(|growth| growth.grow(mask, nx));
        let mut now = Vec::new();
        runs(grown.as_deref().unwrap_or(mask), nx, &mut now);
        out.clear();
        out.resize(mask.len(), u32::MAX);
        for &(y, from, to) in &now {
            let number = self.of_run[self.next];
            self.next += 1;
            let span = y as usize * nx + from as usize..y as usize * nx + to as usize;
            span.filter(|&k| mask[k]).for_each(|k| out[k] = number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;

    /// Flooding a mask in memory: the definition.
    fn flooded(mask: &[bool], [nz, ny, nx]: [usize; 3], near: impl Fn([i64; 3]) -> bool, reach: i64) -> Vec<u32> {
        let mut label = vec![u32::MAX; mask.len()];
        let mut next = 0;
        for seed in 0..mask.len() {
            if !mask[seed] || label[seed] != u32::MAX {
                continue;
            }
            label[seed] = next;
            let mut open = vec![seed];
            while let Some(i) = open.pop() {
                let at = [i / (ny * nx), i / nx % ny, i % nx].map(|v| v as i64);
                for k in 0..(2 * reach + 1).pow(3) {
                    let side = 2 * reach + 1;
                    let d = [k / side / side - reach, k / side % side - reach, k % side - reach];
                    let to = [at[0] + d[0], at[1] + d[1], at[2] + d[2]];
                    let inside = (0..3).all(|a| (0..[nz, ny, nx][a] as i64).contains(&to[a]));
                    if !inside || !near(d) {
                        continue;
                    }
                    let j = (to[0] as usize * ny + to[1] as usize) * nx + to[2] as usize;
                    if mask[j] && label[j] == u32::MAX {
                        label[j] = next;
                        open.push(j);
                    }
                }
            }
            next += 1;
        }
        label
    }

    fn labelled(mask: &[bool], [nz, ny, nx]: [usize; 3], how: Neighbours) -> (Vec<u32>, Components) {
        let slice = ny * nx;
        let mut joining = Joining::new(nx, how);
        (0..nz).for_each(|z| joining.slice(&mask[z * slice..][..slice], &vec![0; slice]));
        let mut components = joining.finish();
        let mut all = Vec::new();
        let mut out = Vec::new();
        for z in 0..nz {
            components.slice(&mask[z * slice..][..slice], &mut out);
            all.extend_from_slice(&out);
        }
        (all, components)
    }

    #[test]
    fn every_neighbourhood_is_what_flooding_finds() {
        let dims = [6, 7, 9];
        for seed in 0..60u64 {
            let stream = Stream::new(seed, 2);
            let part = [0.05, 0.12, 0.25, 0.4, 0.6][seed as usize % 5];
            let mask: Vec<bool> = (0..6 * 7 * 9).map(|i| stream.uniform_f64(i) < part).collect();
            let steps = |d: [i64; 3]| d.iter().map(|v| v.abs()).sum::<i64>();
            for (how, want) in [
                (Neighbours::Six, flooded(&mask, dims, |d| steps(d) == 1, 1)),
                (Neighbours::Eighteen, flooded(&mask, dims, |d| (1..=2).contains(&steps(d)), 1)),
                (Neighbours::TwentySix, flooded(&mask, dims, |_| true, 1)),
                (Neighbours::Gap(0), flooded(&mask, dims, |_| true, 1)),
                (Neighbours::Gap(1), flooded(&mask, dims, |_| true, 2)),
                (Neighbours::Gap(2), flooded(&mask, dims, |_| true, 3)),
            ] {
                let (got, components) = labelled(&mask, dims, how);
                assert_eq!(got, want, "{how:?} of seed {seed}");
                let most = want.iter().filter(|&&l| l != u32::MAX).max().map_or(0, |l| l + 1);
                assert_eq!(components.len(), most as usize);
            }
        }
    }

    #[test]
    fn counts_are_scipys() {
        // i = np.arange(8000); m = ((i*i*17 + i*i*i*7919) % 1009 < 150).reshape(20, 20, 20)
        // [scipy.ndimage.label(m, scipy.ndimage.generate_binary_structure(3, k))[1] for k in (1, 2, 3)]
        let mask: Vec<bool> = (0..8000u64).map(|i| (i * i * 17 + i * i * i * 7919) % 1009 < 150).collect();
        let of = |how| labelled(&mask, [20, 20, 20], how).1.len();
        assert_eq!([Neighbours::Six, Neighbours::Eighteen, Neighbours::TwentySix].map(of), [691, 111, 32]);
    }

    #[test]
    fn marks_are_joined_and_grown_voxels_bear_none() {
        // A row of two voxels with a gap of two between; the second one is marked, and so is what lies between.
        let mask = [true, false, false, true];
        for (gap, marks) in [(0, vec![0, 1]), (1, vec![0, 1]), (2, vec![1])] {
            let mut joining = Joining::new(4, Neighbours::Gap(gap));
            joining.slice(&mask, &[0, 2, 2, 1]);
            let components = joining.finish();
            assert_eq!((0..components.len() as u32).map(|c| components.marks(c)).collect::<Vec<_>>(), marks, "{gap}");
        }
    }
}
