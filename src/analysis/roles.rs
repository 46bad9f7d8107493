//! Which class plays which part of a cell: nothing here knows the numbers of a table.

use crate::error::{Error, Result};
use crate::json::Json;
use crate::segment::classes::Classes;

/// Classes of the parts that a cell has; a part may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Roles {
    /// Electrode on which lithium is plated in charge.
    pub plating: Option<u8>,
    /// Its layer.
    pub deposited: Option<u8>,
    /// Dendrites on it.
    pub dendrite: Option<u8>,
    /// Electrode from which lithium is stripped in charge.
    pub stripping: Option<u8>,
    /// Its layer, in discharge.
    pub redeposited: Option<u8>,
    /// Pits in it.
    pub pit: Option<u8>,
}

/// Names of the parts, and those of their classes in the table `cell`.
pub const ROLES: [(&str, &str); 6] = [
    ("plating", "plating electrode"),
    ("deposited", "deposited"),
    ("dendrite", "dendrite"),
    ("stripping", "stripping electrode"),
    ("redeposited", "redeposited"),
    ("pit", "pit"),
];

impl Roles {
    fn slots(&mut self) -> [&mut Option<u8>; 6] {
        let Roles { plating, deposited, dendrite, stripping, redeposited, pit } = self;
        [plating, deposited, dendrite, stripping, redeposited, pit]
    }

    /// The classes of a table by the names of `cell`, then as `rules` say: `plating=anode,pit=-`.
    ///
    /// # Errors
    /// Usage: no such part or class, one class for two parts.
    pub fn of(classes: &Classes, rules: Option<&str>) -> Result<Roles> {
        let mut roles = Roles::default();
        for (slot, (_, name)) in roles.slots().into_iter().zip(ROLES) {
            *slot = classes.list().iter().find(|c| c.name == name).map(|c| c.id);
        }
        for rule in rules.into_iter().flat_map(|r| r.split(',')) {
            let names = ROLES.map(|(part, _)| part);
            let (part, class) = rule.split_once('=').ok_or_else(|| {
                Error::usage(format!("'{rule}' is no rule")).help("write part=class, such as plating=anode")
            })?;
            let i = names.iter().position(|n| *n == part.trim()).ok_or_else(|| {
                Error::usage(format!("no part '{}'", part.trim())).help(format!("parts are {}", names.join(", ")))
            })?;
            let class = if class.trim() == "-" { None } else { Some(classes.find(class)?) };
            *roles.slots()[i] = class;
        }
        let used: Vec<u8> = roles.slots().into_iter().filter_map(|s| *s).collect();
        if let Some(twice) = used.iter().enumerate().find(|(i, c)| used[..*i].contains(c)) {
            return Err(Error::usage(format!("'{}' plays two parts", classes.name(*twice.1))));
        }
        Ok(roles)
    }
    /// Parts by name, and the class of each.
    pub fn list(mut self) -> Vec<(&'static str, Option<u8>)> {
        ROLES.iter().map(|r| r.0).zip(self.slots().map(|s| *s)).collect()
    }
    /// Electrode and layer of the plating and of the stripping side, and their names.
    pub fn sides(&self) -> [(&'static str, Vec<u8>); 2] {
        let of = |a: Option<u8>, b: Option<u8>| a.into_iter().chain(a.and(b)).collect();
        [("plating side", of(self.plating, self.deposited)), ("stripping side", of(self.stripping, self.redeposited))]
    }
    /// All classes of lithium.
    pub fn lithium(&self) -> Vec<u8> {
        let mut of = *self;
        of.pit = None;
        of.slots().into_iter().filter_map(|s| *s).collect()
    }
    /// For manifests.
    pub fn to_json(self, classes: &Classes) -> Json {
        Json::obj(self.list().into_iter().map(|(part, c)| (part, c.map_or(Json::Null, |c| classes.name(c).into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_name_or_given() {
        let cell = Roles::of(&Classes::cell(), None).unwrap();
        assert_eq!(cell.lithium(), [4, 3, 1, 6, 5]);
        assert_eq!(cell.sides().map(|(_, c)| c), [vec![4, 3], vec![6, 5]]);
        let network = Roles::of(&Classes::network(), Some("plating=electrode,pit=-")).unwrap();
        assert_eq!((network.plating, network.stripping, network.pit), (Some(4), None, None));
        // A layer without its electrode is no side.
        assert_eq!(Roles::of(&Classes::network(), None).unwrap().sides()[0].1, []);
        for (rules, says) in
            [("plating", "no rule"), ("anode=pit", "no part"), ("pit=pitt", "no class"), ("pit=dendrite", "two parts")]
        {
            let e = Roles::of(&Classes::cell(), Some(rules)).unwrap_err();
            assert!(e.to_string().contains(says) && e.fault().exit_code() == 2, "{e}");
        }
    }
}
