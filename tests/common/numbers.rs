//! The numbers of `analyze`.

use super::json;
use std::collections::BTreeMap;
use std::path::Path;
use tomolith::json::Json;

/// Numbers by definition, object and step.
pub struct Numbers(pub BTreeMap<(String, String, Option<u64>), Json>);

impl Numbers {
    pub fn of(path: &Path) -> Numbers {
        let text = |q: &Json, k: &str| q.need_str(k).unwrap().to_string();
        let key = |q: &Json| (text(q, "definition"), text(q, "of"), q.get("step").unwrap().as_u64());
        let quantities = json(path);
        let quantities = quantities.need_arr("quantities").unwrap();
        let all: BTreeMap<_, _> = quantities.iter().map(|q| (key(q), q.clone())).collect();
        assert_eq!(all.len(), quantities.len(), "a number is told twice");
        Numbers(all)
    }
    #[track_caller]
    pub fn get(&self, definition: &str, of: &str, step: Option<usize>) -> f64 {
        let q = self.0.get(&(definition.into(), of.into(), step.map(|s| s as u64)));
        let q = q.unwrap_or_else(|| panic!("no {definition} of {of} at {step:?}"));
        let value = q.need_f64("value").unwrap();
        if let Some([low, high]) = q.get("interval95").unwrap().as_arr() {
            // The band of a correlation is where it would be without one.
            let band = q.need_str("interval_from").unwrap() == "shifts";
            assert!(band || low.as_f64().unwrap() <= value && value <= high.as_f64().unwrap(), "{q:?}");
        }
        value
    }
    /// Half of its interval.
    #[track_caller]
    pub fn half(&self, definition: &str, of: &str, step: usize) -> f64 {
        let ends = self.0[&(definition.into(), of.into(), Some(step as u64))].get("interval95").unwrap().as_arr();
        let [low, high] = [0, 1].map(|end| ends.expect("an interval")[end].as_f64().unwrap());
        (high - low) / 2.0
    }
    #[track_caller]
    pub fn is(&self, definition: &str, of: &str, step: Option<usize>, want: f64) {
        let got = self.get(definition, of, step);
        assert!(
            (got - want).abs() <= 1e-9 * want.abs().max(1e-3),
            "{definition} of {of} at {step:?}: {got} for {want}"
        );
    }
}
