//! The table of README.md from the paper's panels to the code: every panel of the report has its row, every function and
//! test that a row names exists, and every deviation is typed.

use super::root;
use std::fs;

const HEADING: &str = "## From the paper to the code";

/// The rows of the table, cell by cell.
fn rows(readme: &str) -> Vec<Vec<&str>> {
    let part = readme.split(HEADING).nth(1).unwrap_or("").split("\n## ").next().unwrap_or("");
    let lines = part.lines().filter(|l| l.starts_with('|')).skip(2);
    lines.map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What is wrong with the table, given the panels and how to read a file.
fn faults(readme: &str, panels: &[&str], read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let rows = rows(readme);
    let mut wrong = Vec::new();
    for panel in panels {
        match rows.iter().filter(|r| r[0] == *panel).count() {
            1 => {}
            n => wrong.push(format!("panel {panel} has {n} rows")),
        }
    }
    for row in &rows {
        let [panel, _, code, test, deviation] = row[..] else {
            wrong.push(format!("a row of {} cells: {}", row.len(), row.join(" | ")));
            continue;
        };
        if !panels.contains(&panel) {
            wrong.push(format!("{panel} is no panel of the report"));
        }
        if deviation.is_empty() || (code == "-" || test == "-") && deviation == "none" {
            wrong.push(format!("{panel}: the deviation is not typed"));
        }
        for place in [code, test].into_iter().filter(|p| *p != "-") {
            let found = place.trim_matches('`').split_once("::").is_some_and(|(file, name)| {
                read(file).is_some_and(|t| [format!("fn {name}("), format!("fn {name}<")].iter().any(|f| t.contains(f)))
            });
            if !found {
                wrong.push(format!("{panel}: {place} is not there"));
            }
        }
        let is_test = |place: &str| {
            let (file, name) = place.trim_matches('`').split_once("::")?;
            let text = read(file)?;
            let before = text.split(&format!("fn {name}(")).next()?;
            before.trim_end().rsplit('\n').take(3).any(|l| l.trim() == "#[test]").then_some(())
        };
        if test != "-" && is_test(test).is_none() {
            wrong.push(format!("{panel}: {test} is no test"));
        }
    }
    wrong
}

#[test]
fn every_panel_leads_to_code_and_test() {
    let read = |file: &str| fs::read_to_string(root().join(file)).ok();
    let panels: Vec<&str> = tomolith::report::figures::PANELS.iter().map(|p| p.0).collect();
    assert!(panels.len() > 20);
    let wrong = faults(&read("README.md").unwrap(), &panels, &read);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn faults_of_the_table_are_found() {
    let read = |file: &str| (file == "src/a.rs").then(|| "fn b() {}\n#[test]\nfn c() {}\n".to_string());
    let count = |rows: &str| {
        let text = format!(
            "{HEADING}\n\n| panel | what | code | test | deviation |\n|---|---|---|---|---|\n{rows}\n## Next\n| x |\n"
        );
        faults(&text, &["1a"], &read).len()
    };
    assert_eq!(count("| 1a | w | `src/a.rs::b` | `src/a.rs::c` | none |"), 0);
    assert_eq!(count("| 1a | w | - | - | a drawing |"), 0);
    for (rows, n) in [
        ("", 1),
        ("| 1a | w | - | - | none |", 1),
        ("| 1a | w | `src/a.rs::b` | `src/a.rs::c` |  |", 1),
        ("| 1a | w | `src/a.rs::d` | `src/a.rs::c` | none |", 1),
        ("| 1a | w | `src/x.rs::b` | `src/a.rs::c` | none |", 1),
        ("| 1a | w | `src/a.rs::b` | `src/a.rs::b` | none |", 1),
        ("| 1a | w | - | - | x |\n| 1a | w | - | - | x |", 1),
        ("| 1a | w | - | - | x |\n| 1b | w | - | - | x |", 1),
        ("| 1a | w | - | x |", 1),
    ] {
        assert_eq!(count(rows), n, "{rows}");
    }
}
