//! Results: every number with its definition, unit, scan, what it is of, and its 95 % interval; as JSON and as tidy tables.
//!
//! A number without a definition cannot be written: [`DEFINITIONS`] is the list of what this program can say, with the
//! formula or where it stands, and the panel of the paper it belongs to. They hold values only: no path, no time, no thread.
//!
//! ```text
//! results.json    parameters, scans, definitions used, quantities, left_out, notes, impedance, course     canonical
//! TABLE.csv       definition,of,step,value,lo95,hi95,unit,interval_from,sampling_lo95,sampling_hi95,corrected
//! ```
//!
//! Two intervals answer two questions. `interval95`: what is the number of **this field**, labels and motions being as
//! inexact as stated. `sampling95`: what would it be in **another field** of the same cell. `corrected`: the value less what
//! [evaluated series](super::evaluated) show to be the segmentation's error; both intervals are then about it, and `sampling95` knows nothing of the
//! scatter of these errors.

use super::impedance::Spectrum;
use crate::error::Result;
use crate::json::Json;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Schema of `results.json`.
pub const SCHEMA: &str = "tomolith-results-1";

/// Where the interval of a number of the potentiostat's log would be from: labels, interfaces and motions are no part of it, and a log tells
/// no error of its own.
pub const LOG: &str = "none: of the log alone";

/// What a number means.
pub struct Definition {
    /// Its name in files.
    pub name: &'static str,
    /// The table it stands in.
    pub table: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Panel of the paper; empty if it has none.
    pub panel: &'static str,
    /// What it is.
    pub text: &'static str,
}

macro_rules! definitions {
    ($($name:literal $table:literal $unit:literal $panel:literal $text:literal;)*) => {
        /// All definitions.
        pub const DEFINITIONS: &[Definition] =
            &[$(Definition { name: $name, table: $table, unit: $unit, panel: $panel, text: $text }),*];
    };
}

definitions! {
    "voxels" "volumes" "voxel" "S6" "voxels of a class";
    "volume" "volumes" "um3" "3b, S6" "voxels times the volume of one";
    "thickness" "volumes" "um" "S7" "effective thickness: volume over the area of the field";
    "occupied" "volumes" "1" "4d, 4e" "part of the columns in which the class occurs";
    "surface_faces" "volumes" "um2" "" "faces to all other classes, as counted: up to 1.5 times a smooth inclined surface";
    "thickness.side" "sides" "um" "3c" "electrode and layer of a side, dendrites not counted";
    "thickness.lithium" "sides" "um" "3d" "all lithium: electrodes, layers, dendrites";
    "volume.lithium" "sides" "um3" "3d" "all lithium";
    "net_lithium" "sides" "um" "3d" "all lithium less that of the first scan";
    "variation_lithium" "sides" "um" "3d" "greatest less least of all lithium over the series";
    "rate.end_points" "rates" "um/step" "3c" "(last - first) / steps of a half cycle";
    "rate.fitted" "rates" "um/step" "3c" "slope of the least-squares line over a half cycle";
    "decay.time" "rates" "step" "3c" "tau of a + b exp(-x/tau) over the discharge";
    "decay.amplitude" "rates" "um" "3c" "b of a + b exp(-x/tau) over the discharge";
    "decay.rest" "rates" "um" "3c" "a of a + b exp(-x/tau) over the discharge";
    "knee.at" "rates" "step" "3c" "bend of two lines over the charge";
    "knee.before" "rates" "um/step" "3c" "slope before the bend";
    "knee.after" "rates" "um/step" "3c" "slope after the bend";
    "charge.positive" "faraday" "mAh" "3d" "charge of the half cycle of the first current, whole cell";
    "charge.negative" "faraday" "mAh" "3d" "charge of the other direction, whole cell";
    "charge.net" "faraday" "mAh" "3d" "their difference";
    "charge.per_area" "faraday" "mAh/cm2" "3d" "net charge over the cell's area";
    "charge.in_field" "faraday" "mAh" "3d" "net charge times the area of the field over that of the cell";
    "faraday.mass" "faraday" "g" "3d" "lithium that the net charge moved, whole cell";
    "faraday.mass_per_area" "faraday" "g/cm2" "3d" "that mass over the cell's area";
    "faraday.mass_in_field" "faraday" "g" "3d" "that mass times the area of the field over that of the cell";
    "faraday.volume" "faraday" "um3" "3d" "its volume if dense, whole cell";
    "faraday.volume_in_field" "faraday" "um3" "3d" "that volume times the area of the field over that of the cell";
    "faraday.thickness" "faraday" "um" "3d" "its thickness if dense, on the cell's area";
    "voltage.low" "faraday" "V" "S3" "least voltage since the scan before";
    "voltage.high" "faraday" "V" "S3" "greatest voltage since the scan before";
    "ratio.per_area" "capacity" "1" "S8" "thickness seen over thickness of the charge on the cell's area";
    "ratio.whole_cell" "capacity" "1" "S8" "volume seen in the field over volume of the whole cell's charge: smaller by field over cell";
    "apparent_porosity" "capacity" "1" "" "1 - thickness of the charge / thickness of the layer, if all charge were in it";
    "pit_fill.thickness" "pits" "1" "4c" "1 - sum max(0, M_pit(half) - M_redeposited) / sum M_pit(half)";
    "pit_fill.area" "pits" "1" "4c, 4e" "1 - columns with M_pit(half) > M_redeposited / columns with a pit at half";
    "pit_fill.voxels" "pits" "1" "5a" "part of the pits' voxels at half that are redeposited lithium";
    "unfilled.area" "pits" "1" "4c, 4e" "part of the field with M_pit(half) > M_redeposited";
    "void.area" "pits" "1" "5a" "part of the field with a voxel of a pit at half that is not redeposited lithium";
    "void.contact" "pits" "1" "5a" "1 - void.area";
    "void.thickness" "pits" "um" "5a" "effective thickness of these voxels";
    "decrease" "changes" "um" "5c" "mean of max(0, M(half) - M(t)) of layer and dendrites of the plating side";
    "increase" "changes" "um" "5c" "mean of max(0, M(t) - M(half)) of the layer of the stripping side";
    "change_correlation" "changes" "1" "5c" "Pearson's r of decrease and increase";
    "gap" "geometry" "um" "5b" "mean distance between the inner faces of the electrodes";
    "outer" "geometry" "um" "5b" "mean distance between the outer faces of the electrodes";
    "swelling.inner" "geometry" "um" "5b" "gap less that of the first scan";
    "swelling.outer" "geometry" "um" "5b" "outer less that of the first scan";
    "displacement" "geometry" "um" "5b" "mean movement of the outer face since the first scan, towards the stripping side";
    "registration.shift" "registration" "voxel" "" "how registration moved the middle of a body, along an axis";
    "registration.turn" "registration" "deg" "" "how it turned it: the rotation vector about an axis";
    "registration.residual" "registration" "voxel" "" "root mean square of the shifts that it left at the blocks of a body";
    "roughness.sa" "roughness" "um" "" "Sa of ISO 25178-2, less the best plane";
    "roughness.sq" "roughness" "um" "" "Sq";
    "roughness.skew" "roughness" "1" "" "Ssk";
    "roughness.kurtosis" "roughness" "1" "" "Sku";
    "roughness.developed" "roughness" "1" "" "Sdr";
    "roughness.correlation" "roughness" "um" "" "lag at which the autocorrelation is below 1/e";
    "current.mean" "current" "mA/cm2" "" "apparent local current density: mean over the field since the scan before";
    "current.hotspot" "current" "1" "" "its 99th percentile over its mean";
    "contact.faces" "contact" "um2" "" "faces between two classes, as counted";
    "contact.isotropic" "contact" "um2" "" "two thirds of the faces: the area if it points in all directions alike";
    "pearson" "colocalisation" "1" "S9" "Pearson's r of two maps; interval: its band if they had nothing in common";
    "pearson.p" "colocalisation" "1" "S9" "two-sided p of r by shifts of one map around the field";
    "spearman" "colocalisation" "1" "S9" "Spearman's r of two maps";
    "effective_columns" "colocalisation" "1" "S9" "columns that would tell as much if independent";
    "coloc2.slope" "colocalisation" "1" "S9" "orthogonal regression on counts of voxels, as Coloc 2";
    "coloc2.intercept" "colocalisation" "voxel" "S9" "its intercept, voxels of the second class";
    "coloc2.threshold1" "colocalisation" "voxel" "S9" "Costes' threshold of the first class, voxels of a column, as Coloc 2";
    "coloc2.threshold2" "colocalisation" "voxel" "S9" "Costes' threshold of the second class";
    "coloc2.below" "colocalisation" "1" "S9" "Pearson's r of columns below a threshold, as Coloc 2";
    "coloc2.above" "colocalisation" "1" "S9" "Pearson's r of columns above one, as Coloc 2";
    "coloc2.m1" "colocalisation" "1" "S9" "Manders' M1, as Coloc 2";
    "coloc2.m2" "colocalisation" "1" "S9" "Manders' M2, as Coloc 2";
    "coloc2.tm1" "colocalisation" "1" "S9" "Manders' M1 above Costes' threshold, as Coloc 2";
    "coloc2.tm2" "colocalisation" "1" "S9" "Manders' M2 above Costes' threshold, as Coloc 2";
    "coloc2.icq" "colocalisation" "1" "S9" "Li's ICQ, as Coloc 2: joint zeros count as together";
    "grade.volume" "connectivity" "um3" "" "volume of dendrites by how they hang on an electrode";
    "grade.part" "connectivity" "1" "" "part of the dendrites' volume";
    "dead.volume" "connectivity" "um3" "3b" "dendrites not joined to an electrode at 26 neighbours: bridged and isolated";
    "dead.persistent" "connectivity" "um3" "" "of these, voxels that were so in the scan before, too";
    "remaining.volume" "connectivity" "um3" "3b" "all dendrites left in the last scan: the paper's dead lithium";
    "short_circuits" "connectivity" "1" "" "components of lithium at 26 neighbours that touch both electrodes";
    "dendrites" "dendrites" "1" "" "components of dendrites at 26 neighbours, of the least size or more";
    "dendrite.height" "dendrites" "um" "" "height above the local surface: median, and greatest";
    "dendrite.matched" "dendrites" "1" "" "part of the dendrites that lie on one of the scan before";
    "local_thickness.mean" "local_thickness" "um" "" "mean diameter of the largest inscribed ball, over the voxels of the class; first scan, turn, last";
    "local_thickness.p95" "local_thickness" "um" "" "its 95th percentile";
    "impedance.ohmic" "impedance" "ohm" "S2" "real part where the imaginary part is zero, towards high frequencies";
    "impedance.low" "impedance" "ohm" "S2" "real part at the lowest frequency";
    "solid.fraction" "solid" "1" "" "(grey - fill) / (lithium - fill), mean over the class";
    "solid.thickness" "solid" "um" "" "that times the effective thickness: dense lithium";
    "solid.total" "solid" "um" "" "dense lithium of all classes of lithium";
    "solid.ratio_per_area" "solid" "1" "" "change of dense lithium of a side over the thickness of the charge";
    "corrected.volume" "corrected" "um3" "" "volume with the segmentation's confusion undone";
    "corrected.thickness" "corrected" "um" "" "thickness with the segmentation's confusion undone";
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// Name of its definition.
    pub definition: &'static str,
    /// What it is of: a class, a side, a pair.
    pub of: String,
    /// Step of its scan; none for one of the whole series.
    pub step: Option<usize>,
    /// The number; none where it is not defined.
    pub value: Option<f64>,
    /// 95 %.
    pub interval: Option<[f64; 2]>,
    /// What the interval is from; [`LOG`] if there can be none.
    pub from: &'static str,
    /// 95 % of the mean over a larger field like this one: tiles drawn again.
    pub sampling: Option<[f64; 2]>,
    /// The number less the segmentation's mean error, where that was measured.
    pub corrected: Option<f64>,
}

impl Quantity {
    /// What it is.
    pub fn definition(&self) -> &'static Definition {
        definition(self.definition)
    }
}

/// A number as it is read back.
pub struct Value<'a> {
    /// Name of its definition.
    pub definition: &'a str,
    /// What it is of.
    pub of: &'a str,
    /// Step of its scan.
    pub step: Option<usize>,
    /// The number.
    pub value: Option<f64>,
    /// The number less the segmentation's mean error.
    pub corrected: Option<f64>,
    /// 95 %: this field.
    pub interval: Option<[f64; 2]>,
    /// 95 %: another field.
    pub sampling: Option<[f64; 2]>,
    /// What the interval is from.
    pub from: &'a str,
    /// Unit.
    pub unit: &'a str,
}

/// The numbers of `results.json`.
///
/// # Errors
/// Data: results of another kind.
pub fn values(results: &Json) -> Result<Vec<Value<'_>>> {
    results.need_arr("quantities")?.iter().map(value).collect()
}

/// One entry of `quantities`.
fn value(q: &Json) -> Result<Value<'_>> {
    let text = |key: &str| q.get(key).and_then(Json::as_str).unwrap_or("");
    let number = |key: &str| q.get(key).and_then(Json::as_f64);
    let pair = |key: &str| {
        let both = q.get(key)?.as_arr()?;
        Some([both.first()?.as_f64()?, both.get(1)?.as_f64()?])
    };
    Ok(Value {
        definition: q.need_str("definition")?,
        of: q.need_str("of")?,
        step: q.get("step").and_then(Json::as_u64).map(|s| s as usize),
        value: number("value"),
        corrected: number("corrected"),
        interval: pair("interval95"),
        sampling: pair("sampling95"),
        from: text("interval_from"),
        unit: text("unit"),
    })
}

/// Numbers that two results have, by definition, object and step, in the order of the first: its entry, its number, and the second's.
///
/// # Errors
/// Data: results of another kind.
pub fn paired<'a>(first: &'a Json, second: &'a Json) -> Result<Vec<(Value<'a>, f64, f64)>> {
    let other: BTreeMap<_, _> =
        values(second)?.into_iter().filter_map(|v| Some(((v.definition, v.of, v.step), v.value?))).collect();
    let pair = |v: Value<'a>| {
        let (own, other) = (v.value?, *other.get(&(v.definition, v.of, v.step))?);
        Some((v, own, other))
    };
    Ok(values(first)?.into_iter().filter_map(pair).collect())
}

/// A scan of the series, as results name it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanInfo {
    /// Its number in the series.
    pub step: usize,
    /// Minutes of current before it, where known.
    pub minutes: Option<f64>,
    /// Seconds on the log's clock at which it began, where known.
    pub time: Option<f64>,
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Scans, in order.
    pub scans: Vec<ScanInfo>,
    /// Numbers.
    pub quantities: Vec<Quantity>,
    /// What was not computed, and why.
    pub left_out: Vec<(String, String)>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Values that decide the numbers.
    pub parameters: BTreeMap<String, Json>,
    /// Spectra of an impedance.
    pub impedance: Vec<Spectrum>,
    /// Hours on the log's clock, mA, V where there is one: its course, thinned.
    pub course: Vec<Vec<f64>>,
}

pub(super) fn definition(name: &str) -> &'static Definition {
    static NONE: Definition = Definition { name: "", table: "", unit: "", panel: "", text: "" };
    DEFINITIONS.iter().find(|d| d.name == name).unwrap_or(&NONE)
}

impl Results {
    /// Adds a number without an interval.
    pub fn put(&mut self, definition: &'static str, of: &str, step: Option<usize>, value: Option<f64>) {
        self.put_with(definition, of, step, value, (None, ""), None);
    }

    /// Adds a number.
    pub fn put_with(
        &mut self,
        name: &'static str,
        of: &str,
        step: Option<usize>,
        value: Option<f64>,
        (interval, from): (Option<[f64; 2]>, &'static str),
        sampling: Option<[f64; 2]>,
    ) {
        debug_assert!(!definition(name).name.is_empty(), "no definition '{name}'");
        let from = if interval.is_some() || from == LOG { from } else { "" };
        let q = Quantity { definition: name, of: of.into(), step, value, interval, from, sampling, corrected: None };
        self.quantities.push(q);
    }

    /// Says that something is not computed, once.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        let entry = (what.to_string(), why.to_string());
        if !self.left_out.contains(&entry) {
            self.left_out.push(entry);
        }
    }

    /// The number of a definition, an object and a step.
    pub fn get(&self, definition: &str, of: &str, step: Option<usize>) -> Option<&Quantity> {
        self.quantities.iter().find(|q| q.definition == definition && q.of == of && q.step == step)
    }

    /// `results.json`.
    pub fn to_json(&self) -> Json {
        let pair = |i: Option<[f64; 2]>| i.map_or(Json::Null, |v| Json::Arr(v.map(Json::from).to_vec()));
        let quantities = self.quantities.iter().map(|q| {
            Json::obj([
                ("definition", q.definition.into()),
                ("of", q.of.as_str().into()),
                ("step", q.step.into()),
                ("value", q.value.into()),
                ("unit", definition(q.definition).unit.into()),
                ("interval95", pair(q.interval)),
                ("interval_from", q.from.into()),
                ("sampling95", pair(q.sampling)),
                ("corrected", q.corrected.into()),
            ])
        });
        let used = DEFINITIONS.iter().filter(|d| self.quantities.iter().any(|q| q.definition == d.name)).map(|d| {
            let members = [("unit", d.unit), ("table", d.table), ("panel", d.panel), ("text", d.text)];
            (d.name, Json::obj(members.map(|(k, v)| (k, Json::from(v)))))
        });
        let scans = self.scans.iter().map(|s| {
            Json::obj([("step", s.step.into()), ("minutes_on", s.minutes.into()), ("start_s", s.time.into())])
        });
        let left_out = self
            .left_out
            .iter()
            .map(|(what, why)| Json::obj([("what", what.as_str().into()), ("why", Json::from(why.as_str()))]));
        Json::obj([
            ("schema", SCHEMA.into()),
            ("parameters", Json::Obj(self.parameters.clone())),
            ("scans", Json::Arr(scans.collect())),
            ("definitions", Json::obj(used)),
            ("quantities", Json::Arr(quantities.collect())),
            ("left_out", Json::Arr(left_out.collect())),
            ("impedance", Json::Arr(self.impedance.iter().map(Spectrum::to_json).collect())),
            (
                "course",
                Json::Arr(self.course.iter().map(|l| Json::Arr(l.iter().map(|v| (*v).into()).collect())).collect()),
            ),
            ("notes", Json::Arr(self.notes.iter().map(|n| n.as_str().into()).collect())),
        ])
    }

    /// Adds spectra, and their numbers.
    pub fn put_impedance(&mut self, spectra: Vec<Spectrum>) {
        for s in &spectra {
            self.put("impedance.ohmic", &s.name, None, s.ohmic());
            self.put("impedance.low", &s.name, None, s.points.last().map(|p| p[1]));
        }
        self.impedance = spectra;
    }

    /// The tables: name and text.
    pub fn tables(&self) -> Vec<(&'static str, String)> {
        let mut tables: Vec<(&'static str, String)> = Vec::new();
        for d in DEFINITIONS {
            for q in self.quantities.iter().filter(|q| q.definition == d.name) {
                let at = tables.iter().position(|(name, _)| *name == d.table).unwrap_or_else(|| {
                    tables.push((d.table, HEAD.into()));
                    tables.len() - 1
                });
                let number = |v: Option<f64>| v.map_or(String::new(), |v| Json::Num(v).to_line());
                let step = q.step.map_or(String::new(), |s| s.to_string());
                let pair = |i: Option<[f64; 2]>| [0, 1].map(|k| number(i.map(|v| v[k]))).join(",");
                let _ = writeln!(
                    tables[at].1,
                    "{},{},{step},{},{},{},{},{},{}",
                    q.definition,
                    quoted(&q.of),
                    number(q.value),
                    pair(q.interval),
                    d.unit,
                    q.from,
                    pair(q.sampling),
                    number(q.corrected)
                );
            }
        }
        if !self.impedance.is_empty() {
            let mut text = String::from("spectrum,frequency_hz,re_ohm,minus_im_ohm\n");
            for s in &self.impedance {
                for p in &s.points {
                    let [f, re, im] = p.map(|v| Json::Num(v).to_line());
                    let _ = writeln!(text, "{},{f},{re},{im}", quoted(&s.name));
                }
            }
            tables.push(("spectra", text));
        }
        tables
    }
}

const HEAD: &str = "definition,of,step,value,lo95,hi95,unit,interval_from,sampling_lo95,sampling_hi95,corrected\n";

/// A cell of a table.
pub fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_each_and_tables_hold_every_number_once() {
        for (i, d) in DEFINITIONS.iter().enumerate() {
            assert!(DEFINITIONS[..i].iter().all(|o| o.name != d.name), "{} twice", d.name);
            assert!(!d.text.is_empty() && !d.unit.is_empty() && !d.table.is_empty());
        }
        let mut results = Results::default();
        results.put_with("volume", "pit", Some(3), Some(0.5), (Some([0.25, 1.0]), "interface"), Some([0.0, 2.0]));
        results.put("voxels", "pit", Some(3), Some(4.0));
        results.put("ratio.per_area", "plated", None, None);
        results.leave_out("charge", "no log");
        results.leave_out("charge", "no log");
        let tables = results.tables();
        let rows = "voxels,pit,3,4.0,,,voxel,,,,\nvolume,pit,3,0.5,0.25,1.0,um3,interface,0.0,2.0,\n";
        assert_eq!(tables[0], ("volumes", format!("{HEAD}{rows}")));
        assert_eq!(tables[1].1, format!("{HEAD}ratio.per_area,plated,,,,,1,,,,\n"));
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(results.to_json().need_arr("left_out").unwrap().len(), 1);
        assert_eq!(results.get("voxels", "pit", Some(3)).unwrap().value, Some(4.0));
    }
}
