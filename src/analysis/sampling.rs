//! What another field of the same cell may show: numbers of tiles drawn again, of one scan, of a change, of the whole series.

use super::columns::Columns;
use super::map::{Map, Sums, Tiles};
use super::whole::Run;

/// Tiles along the longer side of a field, if their edge is not told.
const MOST_TILES: usize = 32;

/// Some classes, and their thickness by column.
pub(super) type OfSet = (Vec<u8>, Map);

/// 95 % of the change of thickness of some classes between two scans in another field, µm.
pub(super) struct Gain {
    pub scan: usize,
    pub since: usize,
    pub classes: Vec<u8>,
    pub sampling: Option<[f64; 2]>,
}

/// Thickness of some classes from scan to scan.
pub(super) struct Course {
    classes: Vec<u8>,
    /// Columns over which its changes are alike.
    edge: usize,
    /// Of every scan, sums over squares of [`Run::finest`] columns.
    sums: Vec<Map>,
}

/// Intervals one by one.
pub(super) fn each<const K: usize>(all: Option<[[f64; 2]; K]>) -> [Option<[f64; 2]>; K] {
    std::array::from_fn(|k| all.map(|all| all[k]))
}

impl Run<'_> {
    /// Edge of the smallest tiles that are drawn: more tiles tell no more, and cost.
    fn finest(&self) -> usize {
        match self.settings.tiles.edge {
            0 => self.grid.dims.nx.max(self.grid.dims.nz).div_ceil(MOST_TILES),
            edge => edge,
        }
    }

    /// How tiles of the length over which a map is alike are drawn.
    pub(super) fn tiles(&self, map: &Map) -> Tiles {
        let edge = match self.settings.tiles.edge {
            0 => map.correlation_length().max(self.finest()),
            edge => edge,
        };
        Tiles { edge, ..self.settings.tiles }
    }

    pub(super) fn sampling(&self, map: &Map) -> Option<[f64; 2]> {
        map.interval(self.tiles(map))
    }

    /// What K numbers made of the thickness of some classes in every scan may be in another field.
    pub(super) fn sampling_of<const K: usize>(
        &self,
        classes: &[u8],
        of: impl Fn(&[f64]) -> Option<[f64; K]> + Sync,
    ) -> Option<[[f64; 2]; K]> {
        let course = self.courses.iter().find(|course| course.classes == classes)?;
        let (finest, n) = (self.finest(), course.sums.len());
        let times = course.edge.div_ceil(finest);
        let columns = Map::new(&self.grid, vec![1.0; self.grid.columns()]).sums(finest).sums(times);
        let sums: Vec<Map> = course.sums.iter().map(|map| map.sums(times)).collect();
        let tile = |t: usize| std::iter::once(columns.values[t]).chain(sums.iter().map(move |map| map.values[t]));
        let tiles = Sums::new(n + 1, (0..columns.values.len()).flat_map(tile).collect());
        tiles.intervals(Tiles { edge: finest * times, ..self.settings.tiles }, |sums| {
            let thickness: Vec<f64> = sums[1..].iter().map(|sum| sum / sums[0]).collect();
            of(&thickness)
        })
    }

    /// How thick sides, lithium, layer and dendrites are from place to place, and how much the change since the first scan and
    /// since the turn differs.
    pub(super) fn changes(&mut self, i: usize, columns: &Columns) {
        let [plating, stripping] = self.roles.sides().map(|(_, classes)| classes);
        let with = plating.iter().copied().chain(self.roles.dendrite).collect();
        let alone = [self.roles.deposited, self.roles.dendrite].map(|class| class.into_iter().collect());
        let sets = [plating, stripping, with, self.roles.lithium()].into_iter().chain(alone);
        let mut now: Vec<OfSet> = Vec::new();
        for classes in sets.filter(|set: &Vec<u8>| !set.is_empty()) {
            if now.iter().all(|(others, _)| *others != classes) {
                let map = Map::thickness(&self.grid, &columns.counts_of(&classes));
                now.push((classes, map));
            }
        }
        if i == 0 {
            let course = |(classes, _): &OfSet| Course { classes: classes.clone(), edge: 1, sums: Vec::new() };
            self.courses = now.iter().map(course).collect();
        }
        let finest = self.finest();
        self.courses.iter_mut().zip(&now).for_each(|(course, (_, map))| course.sums.push(map.sums(finest)));
        for (since, before) in &self.since {
            for (k, ((classes, now), (_, before))) in now.iter().zip(before).enumerate() {
                let change = now.with(before, |now, before| now - before);
                let tiles = self.tiles(&change);
                self.courses[k].edge = self.courses[k].edge.max(tiles.edge);
                let sampling = change.interval(tiles);
                self.gains.push(Gain { scan: i, since: *since, classes: classes.clone(), sampling });
            }
        }
        if i == 0 || self.turn == Some(i) {
            self.since.push((i, now));
        }
    }

    /// What another field may show of a gain of some classes between two scans, µm.
    pub(super) fn gained(&self, i: usize, since: usize, classes: &[u8]) -> Option<[f64; 2]> {
        self.gains.iter().find(|g| g.scan == i && g.since == since && g.classes == classes).and_then(|g| g.sampling)
    }
}
