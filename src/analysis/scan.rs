//! What each scan tells by itself: volumes, dense lithium, surfaces and contact, colocalisation, connectivity.

use super::coloc;
use super::columns::{Columns, NONE};
use super::confusion;
use super::dendrites::{self, GRADES, Hanging};
use super::map::{Map, Projection, Tiles, along};
use super::solid;
use super::surface;
use super::whole::{Run, rim};
use crate::error::Result;
use crate::json::Json;
use std::fmt::Write as _;

/// Dendrites in a tile, about, of those that are drawn again.
const TOGETHER: f64 = 9.0;

impl Run<'_> {
    pub(super) fn volumes(&mut self, i: usize, columns: &Columns) {
        let (grid, step, delta) = (self.grid, self.step(i), self.settings.interface);
        let mut thickness = Vec::new();
        let v = grid.depth();
        for class in 0..self.classes.len() as u8 {
            let name = self.name(class);
            let map = Map::thickness(&grid, &columns.counts(class));
            let (thick, faces) = (columns.thickness(&[class]), columns.area(columns.surface(&[class])));
            let half = delta * v * faces / grid.area();
            let around = |value: f64, half: f64, scale: f64| {
                (Some([(value - half).max(0.0) * scale, (value + half) * scale]), "interface")
            };
            thickness.push(thick);
            let sampling = self.sampling(&map);
            let (volume, area) = (columns.volume(&[class]), grid.area());
            let scaled = sampling.map(|s| s.map(|t| t * area));
            let r = &mut self.results;
            r.put("voxels", &name, step, Some(columns.voxels[usize::from(class)] as f64));
            r.put_with("volume", &name, step, Some(volume), around(thick, half, area), scaled);
            r.put_with("thickness", &name, step, Some(thick), around(thick, half, 1.0), sampling);
            r.put("surface_faces", &name, step, Some(faces));
            let (occupied, rim) = (columns.occupied(class), delta * rim(&map, v));
            let sampling = self.sampling(&map.indicator());
            let interval = (Some([(occupied - rim).max(0.0), (occupied + rim).min(1.0)]), "interface");
            self.results.put_with("occupied", &name, step, Some(occupied), interval, sampling);
        }
        self.thickness.push(thickness);
        let roles = self.roles;
        let lithium = roles.lithium();
        let mut bands = Vec::new();
        let with = roles.sides()[0].1.iter().copied().chain(roles.dendrite).collect();
        let sets = roles.sides().into_iter().chain([("lithium", lithium), ("", with)]);
        for (name, classes) in sets {
            if classes.is_empty() {
                self.results.leave_out(&format!("thickness of {name}"), "no class plays the part of its electrode");
                continue;
            }
            let half = delta * v * columns.area(columns.surface(&classes)) / grid.area();
            let value = columns.thickness(&classes);
            let (interval, area) = ([value - half, value + half], grid.area());
            let definition = if name == "lithium" { "thickness.lithium" } else { "thickness.side" };
            if !name.is_empty() {
                let sampling = self.sampling(&Map::thickness(&grid, &columns.counts_of(&classes)));
                self.results.put_with(definition, name, step, Some(value), (Some(interval), "interface"), sampling);
                if name == "lithium" {
                    let scaled = |ends: [f64; 2]| ends.map(|t| t * area);
                    let (volume, interval) = (columns.volume(&classes), (Some(scaled(interval)), "interface"));
                    self.results.put_with("volume.lithium", name, step, Some(volume), interval, sampling.map(scaled));
                }
            }
            bands.push((classes, half));
        }
        self.bands.push(bands);
    }

    /// Volumes with the segmentation's confusion undone.
    pub(super) fn corrected(&mut self, i: usize, columns: &Columns) {
        let Some(counts) = &self.settings.confusion else { return };
        let counted: Vec<f64> = columns.voxels.iter().map(|&n| n as f64).collect();
        let Some(found) = confusion::correct(counts, &counted) else {
            self.results.leave_out("corrected volumes", "the confusion cannot be undone: a class is never called so");
            return;
        };
        let (step, one, area) = (self.step(i), self.grid.voxel_volume(), self.grid.area());
        for (class, (n, interval)) in found.into_iter().enumerate() {
            let name = self.name(class as u8);
            for (definition, scale) in [("corrected.volume", one), ("corrected.thickness", one / area)] {
                let interval = (interval.map(|v| v.map(|n| n * scale)), "evaluated scans");
                self.results.put_with(definition, &name, step, Some(n * scale), interval, None);
            }
        }
    }

    /// Dense lithium by grey values.
    pub(super) fn solid(&mut self, i: usize, columns: &Columns) -> Result<()> {
        let (scan, step, roles) = (&self.scans[i], self.step(i), self.roles);
        let (Some(grey), Some(meaning)) = (&scan.grey, self.settings.grey) else {
            self.results.leave_out("solid fraction, dense lithium", "no grey values, or not said what fills pores");
            self.dense.push(None);
            return Ok(());
        };
        let means =
            solid::means(&scan.labels, grey.as_ref(), self.classes.len()).map_err(|e| e.at(&scan.labels.name))?;
        let electrodes: Vec<u8> = [roles.plating, roles.stripping].into_iter().flatten().collect();
        let weighted =
            electrodes.iter().filter_map(|&c| Some((columns.voxels[usize::from(c)] as f64, means[usize::from(c)]?)));
        let (n, sum) = weighted.fold((0.0, 0.0), |(n, s), (voxels, mean)| (n + voxels, s + voxels * mean));
        let Some(lithium) = meaning.lithium.or((n > 0.0).then(|| sum / n)) else {
            self.results.leave_out(
                "solid fraction, dense lithium",
                "neither an electrode nor --grey-lithium says what lithium is",
            );
            self.dense.push(None);
            return Ok(());
        };
        let mut dense = vec![0.0; self.classes.len()];
        let mut all_known = true;
        for class in roles.lithium() {
            let name = self.name(class);
            let fraction = means[usize::from(class)].and_then(|m| solid::fraction(m, lithium, meaning.fill));
            let thick = fraction.map_or(0.0, |f| f * columns.thickness(&[class]));
            dense[usize::from(class)] = thick;
            let own = self.results.get("thickness", &name, step).and_then(|q| q.interval);
            let band =
                own.zip(fraction).and_then(|([a, b], f)| solid::band(f, columns.thickness(&[class]), (b - a) / 2.0));
            self.results.put_with("solid.fraction", &name, step, fraction, (band, "interface"), None);
            // A fraction below 0 turns the ends.
            let ends = own.zip(fraction).map(|(ends, f)| ends.map(|t| t * f)).map(|[a, b]| [a.min(b), a.max(b)]);
            all_known &= fraction.is_some() || columns.voxels[usize::from(class)] == 0;
            self.results.put_with("solid.thickness", &name, step, Some(thick), (ends, "interface"), None);
        }
        // As all lithium by its labels; a class of which nothing is known leaves all unknown.
        let total = dense.iter().fold(0.0, |s, t| s + t);
        let of_labels = self.results.get("thickness.lithium", "lithium", step);
        let own = of_labels.and_then(|q| Some((q.interval?, total / q.value.filter(|v| *v > 0.0)?)));
        let ends = own.filter(|_| all_known).map(|(ends, part)| ends.map(|t| t * part));
        self.results.put_with("solid.total", "lithium", step, all_known.then_some(total), (ends, "interface"), None);
        self.dense.push(Some(dense));
        let d = self.grid.dims;
        for (name, how) in [("grey_mean", Projection::Mean), ("grey_max", Projection::Max)] {
            let (mut values, mut slice) = (Vec::with_capacity(d.nz * d.nx), Vec::new());
            for z in 0..d.nz {
                self.scans[i].labels.read_beside(grey.as_ref(), z..z + 1, &mut slice)?;
                values.extend(along(&slice, d.nx, how).into_iter().map(f64::from));
            }
            self.map(i, name, "grey", &Map { nz: d.nz, nx: d.nx, values })?;
        }
        Ok(())
    }

    /// Roughness and contact.
    pub(super) fn surfaces(&mut self, i: usize, columns: &Columns) {
        let (grid, step, roles) = (self.grid, self.step(i), self.roles);
        let top = |classes: Vec<u8>| {
            let of = |a: u16, b: u16| {
                if a == NONE {
                    b
                } else if b == NONE {
                    a
                } else {
                    a.max(b)
                }
            };
            classes
                .into_iter()
                .map(|c| columns.last(c))
                .reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| of(a, b)).collect())
        };
        let bottom = |classes: Vec<u8>| {
            // NONE is the greatest u16.
            classes
                .into_iter()
                .map(|c| columns.first(c))
                .reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.min(b)).collect())
        };
        let [(plating, p), (stripping, s)] = roles.sides();
        for (name, depth) in [(plating, top(p)), (stripping, bottom(s))] {
            let Some(depth) = depth else { continue };
            let heights = surface::heights(&grid, &depth);
            let Some(found) = surface::roughness(&grid, &heights) else { continue };
            let r = &mut self.results;
            r.put("roughness.sa", name, step, Some(found.sa));
            r.put("roughness.sq", name, step, Some(found.sq));
            r.put("roughness.skew", name, step, found.skew);
            r.put("roughness.kurtosis", name, step, found.kurtosis);
            r.put("roughness.developed", name, step, Some(found.developed));
            if heights.values.iter().all(|h| !h.is_nan()) {
                let length = heights.correlation_length() as f64 * grid.voxel[0];
                r.put("roughness.correlation", name, step, Some(length));
            }
        }
        let pairs = [
            (roles.deposited, roles.plating),
            (roles.redeposited, roles.stripping),
            (roles.dendrite, roles.deposited),
            (roles.dendrite, roles.plating),
            (roles.pit, roles.stripping),
        ];
        for (a, b) in pairs.into_iter().filter_map(|(a, b)| a.zip(b)) {
            let (name, area) =
                (format!("{} - {}", self.name(a), self.name(b)), columns.area(columns.faces(&[a], &[b])));
            self.results.put("contact.faces", &name, step, Some(area));
            self.results.put("contact.isotropic", &name, step, Some(2.0 / 3.0 * area));
        }
    }

    pub(super) fn colocalisation(&mut self, i: usize, columns: &Columns) {
        let (step, roles) = (self.step(i), self.roles);
        for (a, b) in [(roles.pit, roles.deposited), (roles.pit, roles.dendrite)] {
            let Some((a, b)) = a.zip(b) else {
                self.results.leave_out("colocalisation", "no class plays the part of pit, deposited or dendrite");
                continue;
            };
            let name = format!("{} - {}", self.name(a), self.name(b));
            let (ca, cb) = (columns.counts(a), columns.counts(b));
            let [ma, mb] = [&ca, &cb].map(|c| Map::thickness(&self.grid, c));
            let Some(t) = coloc::together(&ma, &mb, self.settings.shifts, self.settings.tiles.seed) else {
                // A constant map goes with nothing.
                self.results.put("pearson", &name, step, None);
                continue;
            };
            let sampling = ma.interval_of_correlation(&mb, [&ma, &mb].map(|map| self.tiles(map)));
            let r = &mut self.results;
            r.put_with("pearson", &name, step, Some(t.pearson), (t.band, "shifts"), sampling);
            r.put("pearson.p", &name, step, t.p);
            r.put("spearman", &name, step, Some(t.spearman));
            r.put("effective_columns", &name, step, t.effective);
            let whole = |c: &[u16]| c.iter().map(|&n| i64::from(n)).collect::<Vec<_>>();
            let c = coloc::coloc2(&whole(&ca), &whole(&cb));
            r.put("coloc2.slope", &name, step, c.line.map(|l| l[0]));
            r.put("coloc2.intercept", &name, step, c.line.map(|l| l[1]));
            r.put("coloc2.threshold1", &name, step, c.thresholds.map(|t| t[0] as f64));
            r.put("coloc2.threshold2", &name, step, c.thresholds.map(|t| t[1] as f64));
            r.put("coloc2.below", &name, step, c.below);
            r.put("coloc2.above", &name, step, c.above);
            r.put("coloc2.m1", &name, step, c.manders[0]);
            r.put("coloc2.m2", &name, step, c.manders[1]);
            r.put("coloc2.tm1", &name, step, c.thresholded[0]);
            r.put("coloc2.tm2", &name, step, c.thresholded[1]);
            r.put("coloc2.icq", &name, step, Some(c.icq));
        }
    }

    pub(super) fn hanging(&mut self, i: usize, found: &Hanging, volume: f64, follows: bool) {
        let (step, one) = (self.step(i), self.grid.voxel_volume());
        let all: u64 = found.grades.iter().sum();
        let dendrite = self.roles.dendrite.map_or(String::new(), |c| self.name(c));
        let dead_map = Map::thickness(&self.grid, &found.dead_columns(self.grid.dims));
        let sampling = self.sampling(&dead_map).map(|ends| ends.map(|t| t * self.grid.area()));
        // One at each tip. They stand in clusters, so that a tile has to hold some.
        let mut tips = Map { values: vec![0.0; self.grid.columns()], ..dead_map };
        found.dendrites.iter().for_each(|d| tips.values[d.tip[2] * tips.nx + d.tip[0]] += 1.0);
        let columns = self.grid.columns() as f64;
        let edge = match self.settings.tiles.edge {
            0 => (TOGETHER * columns / found.dendrites.len().max(1) as f64).sqrt().ceil() as usize,
            edge => edge,
        };
        let number = tips.interval(Tiles { edge, ..self.settings.tiles }).filter(|_| !found.dendrites.is_empty());
        let number = number.map(|ends| ends.map(|n| n * columns));
        let r = &mut self.results;
        for (name, &n) in GRADES.iter().zip(&found.grades) {
            r.put("grade.volume", name, step, Some(n as f64 * one));
            r.put("grade.part", name, step, (all > 0).then(|| n as f64 / all as f64));
        }
        let dead: u64 = found.grades[2..].iter().sum();
        // What bridges a gap may hang on, and what hangs by corners may not.
        let ends = [found.grades[4], dead + found.grades[1]].map(|n| n as f64 * one);
        let interval = (Some(ends), "connectivity");
        r.put_with("dead.volume", "dendrite", step, Some(dead as f64 * one), interval, sampling);
        if follows {
            r.put("dead.persistent", "dendrite", step, Some(found.persistent as f64 * one));
        }
        if i + 1 == self.scans.len() {
            let own = r.get("volume", &dendrite, step);
            let (interval, sampling) = (own.and_then(|q| q.interval), own.and_then(|q| q.sampling));
            r.put_with("remaining.volume", "dendrite", step, Some(volume), (interval, "interface"), sampling);
        }
        r.put("short_circuits", "electrodes", step, Some(found.short_circuits as f64));
        r.put_with("dendrites", "dendrite", step, Some(found.dendrites.len() as f64), (None, ""), number);
        let v = self.grid.depth();
        let mut heights: Vec<f64> = found.dendrites.iter().map(|d| d.height as f64 * v).collect();
        heights.sort_by(f64::total_cmp);
        r.put("dendrite.height", "greatest", step, heights.last().copied());
        r.put("dendrite.height", "median", step, (!heights.is_empty()).then(|| crate::num::sum::median(heights)));
        let matched = found.dendrites.iter().filter(|d| d.event != dendrites::Event::Born).count();
        if follows && !found.dendrites.is_empty() {
            r.put("dendrite.matched", "dendrite", step, Some(matched as f64 / found.dendrites.len() as f64));
        }
        let (area, origin) = (self.grid.column_area(), self.scans[i].labels.origin());
        for d in &found.dendrites {
            let tip: [usize; 3] = std::array::from_fn(|k| origin[k] + d.tip[k]);
            let number = |v: f64| Json::Num(v).to_line();
            let (volume, footprint, base) = (d.voxels as f64 * one, d.footprint as f64 * area, d.base as f64 * area);
            let _ = write!(
                self.dendrites,
                "{},{},{},{},{},{},{},{},{},{},{},{}",
                self.scans[i].info.step,
                d.number,
                d.track,
                d.event.name(),
                d.voxels,
                number(volume),
                number(footprint),
                number(base),
                number(d.height as f64 * v),
                tip[0],
                tip[1],
                tip[2]
            );
            d.grades.iter().for_each(|n| {
                let _ = write!(self.dendrites, ",{n}");
            });
            self.dendrites.push('\n');
        }
    }
}
