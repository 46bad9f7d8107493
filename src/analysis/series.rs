//! What only the whole series tells: rates, decay, knee, charge, capacity.
//!
//! ```text
//! rates      thickness of a side over the steps of a half cycle: end points (last − first) / steps, and the fitted slope
//! decay      plating side's layer and dendrites in discharge        knee    plating side in charge
//! charge     at each scan: of the first current's direction, of the other, net
//! ratios     plated       T_P(t) − T_P(0) over the charge of the first direction, t up to the turn
//!            stripped     T_S(0) − T_S(t) over the same
//!            redeposited  T_S(t) − T_S(turn) over the charge of the other direction since the turn
//!            net          T_S(t) − T_S(0) over the same
//! ```
//!
//! T_P and T_S are the sides without dendrites; `plated + dendrites` counts them, too.

use super::faraday;
use super::fit;
use super::quantity::LOG;
use super::sampling::each;
use super::whole::Run;
use crate::error::{Error, Result};

impl Run<'_> {
    /// Q of the first current's direction and of the other, mAh, at a scan.
    fn charge(&self, i: usize) -> Option<[f64; 2]> {
        let (log, time) = (self.settings.log.as_ref()?, self.scans[i].info.time?);
        let [plus, minus] = log.charge(time);
        let first = log.current.iter().find(|c| **c != 0.0)?;
        Some(if *first > 0.0 { [plus, -minus] } else { [-minus, plus] })
    }

    /// Why no charge is known that turns.
    fn no_charge(&self) -> &'static str {
        match &self.settings.log {
            None => "no current log",
            Some(_) if self.scans.iter().any(|s| s.info.time.is_none()) => {
                "not all scans have times on the log's clock"
            }
            Some(log) if log.current.iter().all(|c| *c == 0.0) => "no current flows in the log",
            Some(_) => "by the log no charge is left at any scan: see --clock-offset",
        }
    }

    /// The scan at the turn: as told, or the one of the greatest net charge.
    pub(super) fn find_turn(&mut self) -> Result<Option<usize>> {
        if let Some(step) = self.settings.turn {
            let found = self.scans.iter().position(|s| s.info.step == step);
            return found.map(Some).ok_or_else(|| {
                let steps: Vec<String> = self.scans.iter().map(|s| s.info.step.to_string()).collect();
                Error::usage(format!("the series has no step {step} to turn at"))
                    .help(format!("steps are {}", steps.join(", ")))
            });
        }
        let net: Option<Vec<f64>> = (0..self.scans.len()).map(|i| self.charge(i).map(|[a, b]| a - b)).collect();
        let Some(net) = net.filter(|net| net.iter().any(|q| *q != 0.0)) else {
            let why = format!("{}, and no --turn", self.no_charge());
            self.results.leave_out("rates, pits, voids, changes, local current density", &why);
            return Ok(None);
        };
        // The first of those that are greatest but for rounding.
        let most = net.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Ok(net.iter().position(|q| *q >= most - 1e-9 * most.abs()))
    }

    /// T of some classes at a scan.
    fn thick(&self, i: usize, classes: &[u8]) -> f64 {
        classes.iter().fold(0.0, |s, &c| s + self.thickness[i][usize::from(c)])
    }

    /// What a difference of thickness may be between two scans: both by their interfaces, each scaled.
    fn apart(
        &self,
        (a, b): (usize, usize),
        classes: &[u8],
        value: f64,
        scales: [f64; 2],
    ) -> (Option<[f64; 2]>, &'static str) {
        let band = |i: usize, s: f64| self.bands[i].iter().find(|(c, _)| c == classes).map(|(_, half)| half * s);
        let half = band(a, scales[0]).zip(band(b, scales[1])).map(|(a, b)| (a * a + b * b).sqrt());
        (half.map(|h| [value - h, value + h]), "interface")
    }

    /// Everything.
    pub(super) fn series(&mut self) {
        let n = self.scans.len();
        let lithium = self.roles.lithium();
        if !lithium.is_empty() {
            let total: Vec<f64> = (0..n).map(|i| self.thick(i, &lithium)).collect();
            for i in 0..n {
                let net = total[i] - total[0];
                let interval = self.apart((i, 0), &lithium, net, [1.0; 2]);
                let step = Some(self.scans[i].info.step);
                let sampling = self.gained(i, 0, &lithium);
                self.results.put_with("net_lithium", "lithium", step, Some(net), interval, sampling);
            }
            let by = |i: &usize, k: &usize| total[*i].total_cmp(&total[*k]);
            let ends = (0..n).max_by(by).zip((0..n).min_by(by)).unwrap_or_default();
            let between = total[ends.0] - total[ends.1];
            let interval = self.apart(ends, &lithium, between, [1.0; 2]);
            let interval = (interval.0.map(|[low, high]| [low.max(0.0), high]), interval.1);
            let [sampling] = each(self.sampling_of(&lithium, |t| {
                let [low, high] = t.iter().fold([f64::MAX, f64::MIN], |[a, b], &t| [a.min(t), b.max(t)]);
                Some([high - low])
            }));
            self.results.put_with("variation_lithium", "lithium", None, Some(between), interval, sampling);
        }
        if let Some(turn) = self.turn {
            self.rates(turn);
        }
        let known: Option<Vec<[f64; 2]>> = (0..n).map(|i| self.charge(i)).collect();
        let Some(charges) = known else {
            let why = self.no_charge();
            self.results.leave_out("charge, Faraday, capacity ratios", why);
            return;
        };
        let area = self.settings.cell_area;
        if area.is_none() {
            self.results
                .leave_out("Faraday per area, capacity ratios", "the area of the cell's electrodes is not given");
        }
        for i in 0..n {
            let step = Some(self.scans[i].info.step);
            let [plus, minus] = charges[i];
            let net = plus - minus;
            let envelope = i.checked_sub(1).and_then(|b| {
                let (log, from, to) = (self.settings.log.as_ref()?, self.scans[b].info.time?, self.scans[i].info.time?);
                log.voltages(from, to)
            });
            let mut put = |name, value| {
                self.results.put_with(name, "cell", step, Some(value), (None, LOG), None);
            };
            put("charge.positive", plus);
            put("charge.negative", minus);
            put("charge.net", net);
            put("faraday.mass", faraday::mass(net));
            put("faraday.volume", faraday::volume(net));
            if let Some([low, high]) = envelope {
                put("voltage.low", low);
                put("voltage.high", high);
            }
            if let Some(area) = area {
                let part = self.grid.area() / (area * faraday::SQUARE);
                put("charge.per_area", net / area);
                put("charge.in_field", net * part);
                put("faraday.mass_per_area", faraday::mass(net) / area);
                put("faraday.mass_in_field", faraday::mass(net) * part);
                put("faraday.volume_in_field", faraday::volume(net) * part);
                put("faraday.thickness", faraday::thickness(net, area));
                if let Some(turn) = self.turn {
                    self.capacity(i, turn, &charges, area);
                }
            }
        }
    }

    fn rates(&mut self, turn: usize) {
        let n = self.scans.len();
        let x: Vec<f64> = self.scans.iter().map(|s| s.info.step as f64).collect();
        for (name, classes) in self.roles.sides() {
            if classes.is_empty() {
                continue;
            }
            let y: Vec<f64> = (0..n).map(|i| self.thick(i, &classes)).collect();
            for (half, range) in [("charge", 0..turn + 1), ("discharge", turn..n)] {
                let (x, y) = (&x[range.clone()], &y[range.clone()]);
                let last = x.len() - 1;
                if last == 0 {
                    continue;
                }
                let of = format!("{name}, {half}");
                let (steps, ends) = (x[last] - x[0], if half == "charge" { (0, turn) } else { (turn, n - 1) });
                let rate = (y[last] - y[0]) / steps;
                let interval = self.apart(ends, &classes, rate, [1.0 / steps; 2]);
                let both = self.sampling_of(&classes, |t| {
                    Some([(t[ends.1] - t[ends.0]) / steps, fit::slope(x, &t[range.clone()])?.value])
                });
                let [of_ends, of_fit] = each(both);
                self.results.put_with("rate.end_points", &of, None, Some(rate), interval, of_ends);
                let fitted = fit::slope(x, y);
                let interval = (fitted.and_then(|f| f.interval), "residuals");
                self.results.put_with("rate.fitted", &of, None, fitted.map(|f| f.value), interval, of_fit);
            }
        }
        let roles = self.roles;
        let steps: Vec<f64> = x[turn..].iter().map(|s| s - x[turn]).collect();
        for class in [roles.deposited, roles.dendrite].into_iter().flatten() {
            let y: Vec<f64> = (turn..n).map(|i| self.thick(i, &[class])).collect();
            let name = self.name(class);
            let Some(found) = fit::decay(&steps, &y) else {
                let why = "too few scans after the turn, or no decay within their range";
                self.results.leave_out(&format!("decay of {name}"), why);
                self.results.put("decay.time", &name, None, None);
                continue;
            };
            let sampling = each(self.sampling_of(&[class], |t| {
                fit::decay(&steps, &t[turn..]).map(|f| [f.time, f.amplitude, f.rest].map(|k| k.value))
            }));
            let of = ["decay.time", "decay.amplitude", "decay.rest"].into_iter().zip(sampling);
            for ((definition, sampling), k) in of.zip([found.time, found.amplitude, found.rest]) {
                self.results.put_with(definition, &name, None, Some(k.value), (k.interval, "residuals"), sampling);
            }
        }
        let [(name, classes), _] = roles.sides();
        if !classes.is_empty() {
            let y: Vec<f64> = (0..turn + 1).map(|i| self.thick(i, &classes)).collect();
            let found = fit::knee(&x[..turn + 1], &y);
            if found.is_none() {
                self.results.leave_out(&format!("bend of the {name}"), "too few scans up to the turn");
            }
            let sampling = found.and_then(|_| {
                self.sampling_of(&classes, |t| {
                    fit::knee(&x[..turn + 1], &t[..turn + 1]).map(|k| [k.at, k.before, k.after].map(|k| k.value))
                })
            });
            let of = ["knee.at", "knee.before", "knee.after"].into_iter().zip(each(sampling)).enumerate();
            for (i, (definition, sampling)) in of {
                let k = found.map(|k| [k.at, k.before, k.after][i]);
                let interval = (k.and_then(|k| k.interval), "residuals");
                self.results.put_with(definition, name, None, k.map(|k| k.value), interval, sampling);
            }
        }
    }

    fn capacity(&mut self, i: usize, turn: usize, charges: &[[f64; 2]], area: f64) {
        let step = Some(self.scans[i].info.step);
        let roles = self.roles;
        let dense = |i: usize, classes: &[u8]| {
            self.dense[i].as_ref().map(|t| classes.iter().fold(0.0, |s, &c| s + t[usize::from(c)]))
        };
        let [(_, plating), (_, stripping)] = roles.sides();
        let with: Vec<u8> = plating.iter().copied().chain(roles.dendrite).collect();
        // What, the classes, since which scan, gained or lost, and the charge meanwhile.
        let mut ratios: Vec<(&str, &[u8], usize, f64, f64)> = Vec::new();
        if i <= turn && i > 0 {
            let charge = charges[i][0] - charges[0][0];
            ratios.push(("plated", &plating, 0, 1.0, charge));
            ratios.push(("plated + dendrites", &with, 0, 1.0, charge));
            ratios.push(("stripped", &stripping, 0, -1.0, charge));
        }
        if i > turn {
            let charge = charges[i][1] - charges[turn][1];
            ratios.push(("redeposited", &stripping, turn, 1.0, charge));
            ratios.push(("net", &stripping, 0, 1.0, charge));
        }
        let layer = if i <= turn {
            (roles.deposited, charges[i][0] - charges[0][0])
        } else {
            (roles.redeposited, charges[i][1] - charges[turn][1])
        };
        for (of, classes, since, sign, charge) in ratios.into_iter().filter(|r| !r.1.is_empty()) {
            let gained = sign * (self.thick(i, classes) - self.thick(since, classes));
            let ratio = faraday::ratio(gained, self.grid.area(), charge, area);
            for (name, value) in [("ratio.per_area", ratio.per_area), ("ratio.whole_cell", ratio.whole_cell)] {
                // A ratio per micrometre.
                let scale = value.filter(|_| gained != 0.0).map(|v| (v / gained).abs());
                let interval =
                    scale.map_or((None, ""), |s| self.apart((i, since), classes, value.unwrap_or(0.0), [s; 2]));
                let sampling = self.gained(i, since, classes).zip(scale).map(|([low, high], s)| {
                    // A loss counts the other way round.
                    if sign > 0.0 { [low * s, high * s] } else { [-high * s, -low * s] }
                });
                self.results.put_with(name, of, step, value, interval, sampling);
            }
            if let Some((now, before)) = dense(i, classes).zip(dense(since, classes)) {
                let ratio = faraday::ratio(sign * (now - before), self.grid.area(), charge, area);
                // Of each scan's band, what is dense of what is there.
                let part = |i: usize, dense: f64| Some(dense / self.thick(i, classes)).filter(|p| p.is_finite());
                let parts = [part(i, now), part(since, before)].map(|part| part.unwrap_or(1.0));
                let scale = ratio.per_area.filter(|_| now != before).map(|v| (v / (now - before)).abs());
                let interval = scale.map_or((None, ""), |s| {
                    self.apart((i, since), classes, ratio.per_area.unwrap_or(0.0), parts.map(|p| p * s))
                });
                self.results.put_with("solid.ratio_per_area", of, step, ratio.per_area, interval, None);
            }
        }
        if let (Some(class), charge) = layer {
            let name = self.name(class);
            let of = |thick: f64| faraday::apparent_porosity(thick, charge, area);
            let layer = self.results.get("thickness", &name, step);
            let [interval, sampling] = [layer.and_then(|q| q.interval), layer.and_then(|q| q.sampling)]
                .map(|ends| ends.and_then(|[low, high]| Some([of(low)?, of(high)?])));
            let porosity = of(self.thick(i, &[class]));
            self.results.put_with("apparent_porosity", &name, step, porosity, (interval, "interface"), sampling);
        }
    }
}
