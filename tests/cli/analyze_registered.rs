//! `analyze` of a series that was registered: what moved, among the numbers and on the page.

use crate::common::{Scratch, expect, json, npy_of, run};
use tomolith::analysis::quantity::DEFINITIONS;
use tomolith::json::Json;
use tomolith::report::figures::FIGURES;

/// `list.toml`: two scans of two electrodes, of which the second was moved.
fn moved(folder: &Scratch) {
    std::fs::create_dir(folder.0.join("t")).unwrap();
    // Two electrodes.
    let labels: Vec<u8> =
        (0..6 * 24 * 8).map(|i| if i / 8 % 24 < 6 { 4 } else { 6 * u8::from(i / 8 % 24 > 17) }).collect();
    ["t/s_00.npy", "t/s_01.npy"].iter().for_each(|name| drop(folder.write(name, npy_of("|u1", &[6, 24, 8], &labels))));
    // A quarter of a degree about y and 3, -2, 0.5 voxels; standard errors of 1e-3 rad and 0.5 voxels.
    let (s, c) = (0.25f64.to_radians().sin(), 0.25f64.to_radians().cos());
    let row = |n: usize, i: usize, v: f64| {
        (0..n).map(|k| if k == i { v.to_string() } else { "0".into() }).collect::<Vec<_>>().join(",")
    };
    let covariance =
        (0..6).map(|i| format!("[{}]", row(6, i, if i < 3 { 1e-6 } else { 0.25 }))).collect::<Vec<_>>().join(",");
    folder.write(
        "one.transform.json",
        format!(
            "{{\"schema\":\"tomolith-transform-1\",\"bodies\":[{{\"name\":\"stripping\",\"centre\":[0,0,0],\
             \"matrix\":[[{c},0,{s},3],[0,1,0,-2],[{},0,{c},0.5],[0,0,0,1]],\"covariance_rad_voxels\":[{covariance}],\
             \"region\":{{\"x\":[0,8],\"y\":[0,24],\"z\":[0,6]}},\"residual_rms_voxels\":0.125}}]}}",
            -s
        ),
    );
    folder.write(
        "list.toml",
        "voxel_um = 1\n[[scan]]\nlabels = \"t/s_00.npy\"\nsigma = 0\n[[scan]]\nlabels = \"t/s_01.npy\"\ntransform = \"one.transform.json\"\n",
    );
}

/// What registration says of a scan stands among the numbers and on the page.
#[test]
fn motions_of_a_registered_series_are_told() {
    let folder = Scratch::new("analyze-moved");
    let at = |words: &str| run(&folder.0, words);
    moved(&folder);
    expect(&at("analyze list.toml --maps none -q -o out"), 0, &[], "moved");
    let results = json(&folder.0.join("out/results.json"));
    let number = |definition: &str, of: &str| -> (f64, Option<f64>) {
        let is = |q: &&Json| q.need_str("definition").unwrap() == definition && q.need_str("of").unwrap() == of;
        let q =
            results.need_arr("quantities").unwrap().iter().find(is).unwrap_or_else(|| panic!("{definition} of {of}"));
        assert_eq!(q.get("step").unwrap().as_u64(), Some(1));
        let ends = q.get("interval95").unwrap().as_arr().map(|e| e[1].as_f64().unwrap() - e[0].as_f64().unwrap());
        (q.need_f64("value").unwrap(), ends)
    };
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    for (axis, shift, turn) in [("x", 3.0, 0.0), ("y", -2.0, 0.25), ("z", 0.5, 0.0)] {
        let of = format!("{axis} of stripping");
        let (found, wide) = number("registration.shift", &of);
        assert!(near(found, shift) && near(wide.unwrap(), 1.96), "{of}: {found}, {wide:?}");
        assert!(near(number("registration.turn", &of).0, turn), "{of}");
    }
    assert_eq!(number("registration.residual", "stripping"), (0.125, None));
    expect(&at("report out -o out.html"), 0, &[], "report");
    let page = std::fs::read_to_string(folder.0.join("out.html")).unwrap();
    for id in ["registration", "registration-turn", "registration-residual"] {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    assert!(page.contains("x of stripping: 3 at 1, 95 %: 2.02 to 3.98"));
}

/// Nothing is defined that no analysis measures: three of them together have a value of every definition.
#[test]
fn every_definition_is_measured() {
    let folder = Scratch::new("analyze-defined");
    let at = |words: &str| expect(&run(&folder.0, words), 0, &[], words);
    moved(&folder);
    folder.write("z.csv", "f_Hz,re_ohm,im_ohm\n1,25,0\n100,15,-10\n1000,6,-1\n10000,5,3\n");
    at("analyze list.toml --impedance z.csv --maps none -q -o a");
    at("phantom cell -o cell --preset tiny --mode labels --seed 2 -q");
    // Tiles that the small cell has enough of; by itself it says nothing of how many dendrites there are elsewhere.
    at("analyze cell --grey truth/step_#/li_frac.mhd --grey-lithium 1 --grey-fill 0 --tile 12 -q -o b");
    at(
        "seg eval --prediction cell/truth/step_11/label.mhd --truth cell/truth/step_12/label.mhd --classes cell --draws 0 \
        --boundary 0 -q -o m.json",
    );
    at("analyze cell/truth/step_11/label.mhd --confusion m.json --maps none -q -o c");
    // Every figure has its place on a page, and where the numbers have none of it, a reason.
    at("report a -o a.html");
    at("report b --volumes cell/truth/step_11/li_frac.mhd --labels cell/truth/step_11/label.mhd --quality m.json \
        --boards b/views/step_11.view.png -o b.html");
    let pages = ["a.html", "b.html"].map(|page| std::fs::read_to_string(folder.0.join(page)).unwrap());
    for id in FIGURES.iter().flat_map(|(_, ids)| ids.iter()) {
        let has = |page: &str| page.contains(&format!(" id=\"{id}\""));
        assert!(pages.iter().any(|page| has(page)), "{id}");
        for page in &pages {
            let link = format!("<a href=\"#{id}\">{id}</a>");
            assert!(page.contains(&if has(page) { link } else { format!("{id}: ") }), "{id}");
        }
    }
    let results = ["a", "b", "c"].map(|run| json(&folder.0.join(run).join("results.json")));
    let measured = |definition: &str| {
        let quantities = results.iter().flat_map(|r| r.need_arr("quantities").unwrap());
        let of_it = |q: &&Json| q.need_str("definition").unwrap() == definition;
        quantities.filter(of_it).any(|q| q.get("value").and_then(Json::as_f64).is_some())
    };
    let missing: Vec<&str> = DEFINITIONS.iter().map(|d| d.name).filter(|name| !measured(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // What the page begins with has an interval of one kind or the other.
    let quantities = results[1].need_arr("quantities").unwrap();
    for (definition, of, step) in [
        ("dendrites", "dendrite", Some(24)),
        ("solid.total", "lithium", Some(24)),
        ("thickness.side", "plating side", Some(24)),
        ("void.area", "pits", Some(24)),
        ("decay.time", "deposited", None),
    ] {
        let is = |q: &&Json| {
            let place = q.get("step").unwrap().as_u64();
            q.need_str("definition").unwrap() == definition && q.need_str("of").unwrap() == of && place == step
        };
        let q = quantities.iter().find(is).unwrap_or_else(|| panic!("{definition}"));
        let value = q.need_f64("value").unwrap();
        let ends = ["interval95", "sampling95"].iter().filter_map(|kind| q.get(kind)?.as_arr()).next();
        let ends = ends.unwrap_or_else(|| panic!("{definition} has no interval: {}", q.to_line()));
        let [low, high] = [0, 1].map(|k| ends[k].as_f64().unwrap());
        assert!(low <= value && value <= high && low < high, "{}", q.to_line());
    }
}
