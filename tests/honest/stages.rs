//! The stages: in-plane, binary, drafts, by hand; and what they are held against.

use super::cells::{CLASSES, NONE, Scan};
use super::report::Table;
use super::{Place, Role, Setting, said};
use crate::common::{json, npy_of};
use std::fmt::Write as _;
use tomolith::json::Json;

/// Grey values, 1/cm, that become 0 and 1.
const GREY: &str = "-0.6,1.6";
/// Learning rates from scratch and of what is refined.
const RATE: [&str; 2] = ["5e-3", "3e-3"];
/// Truncated scans have levels of their own. In-plane slices have no direction; in cross sections, which are seen with depth
/// going down in both planes, cells are mirrored from left to right alone: pits are on one side, dendrites on the other.
const AUGMENT: [&str; 2] =
    ["none,flip-rows=0.5,flip-columns=0.5,gain=0.1,offset=0.06", "none,flip-columns=0.5,gain=0.1,offset=0.06"];
/// The cross sections, depth going down.
const CROSS: &str = "xy,zy";
/// Slices that drafts are learnt from: every so many-th from the first.
const DRAFTS: (usize, usize) = (8, 32);
/// Slices that are drawn again together for intervals.
const UNITS: usize = 8;

/// A table of classes, and what the network's classes are in it.
const TABLES: [(&str, &[&str], &str); 3] = [
    ("in_plane", &["background", "pit", "lithium"], "0=background,1=lithium,2=pit,3=lithium,4=lithium,255=-"),
    ("electrode", &["other", "electrode"], "0=other,1=other,2=other,3=other,4=electrode,255=-"),
    ("deposited", &["other", "deposited"], "0=other,1=other,2=other,3=deposited,4=other,255=-"),
];

/// A slice that somebody labels: scan, plane, number.
#[derive(Clone, Debug, PartialEq)]
struct Slice {
    scan: String,
    plane: &'static str,
    at: usize,
}

/// Where patches and split of drafts and of what is labelled by hand are.
pub(crate) struct Lists {
    drafts: [String; 3],
    hand: [String; 3],
}

fn of(scans: &[Scan], role: Role) -> impl Iterator<Item = &Scan> + Clone {
    scans.iter().filter(move |scan| scan.role == role)
}

fn learning(scans: &[Scan]) -> impl Iterator<Item = &Scan> + Clone {
    scans.iter().filter(|scan| scan.role != Role::Test)
}

/// In-plane slices with most to see: of the greatest entropy of drawn classes, one in each part of the depth.
fn in_plane(s: &Setting, scan: &Scan) -> Vec<Slice> {
    let [nx, ny, _] = s.size;
    let entropy = |y: usize| -> f64 {
        let mut counts = [0f64; CLASSES.len()];
        let rows = scan.drawn.chunks_exact(nx).skip(y).step_by(ny);
        rows.flatten().filter(|&&l| l != NONE).for_each(|&l| counts[usize::from(l)] += 1.0);
        let n: f64 = counts.iter().sum();
        counts.iter().filter(|&&c| c > 0.0).map(|c| -c / n * (c / n).ln()).sum()
    };
    let parts = (0..s.in_plane).map(|i| i * ny / s.in_plane..(i + 1) * ny / s.in_plane);
    let best = |part: std::ops::Range<usize>| part.max_by(|&a, &b| entropy(a).total_cmp(&entropy(b))).unwrap();
    parts.map(|part| Slice { scan: scan.name.clone(), plane: "xz", at: best(part) }).collect()
}

/// What of a scan is labelled, as a volume; and how much.
fn sparse(s: &Setting, scan: &Scan, slices: &[Slice]) -> (Vec<u8>, usize) {
    let [nx, ny, nz] = s.size;
    let middle = |n: usize| {
        let wide = s.wide.min(n);
        (n - wide) / 2..(n - wide) / 2 + wide
    };
    let mut labels = vec![NONE; nx * ny * nz];
    for slice in slices.iter().filter(|slice| slice.scan == scan.name) {
        for (i, label) in labels.iter_mut().enumerate() {
            let (x, y, z) = (i % nx, i / nx % ny, i / (nx * ny));
            let seen = match slice.plane {
                "xz" => y == slice.at && middle(nx).contains(&x),
                "xy" => z == slice.at && middle(nx).contains(&x),
                _ => x == slice.at && middle(nz).contains(&z),
            };
            if seen {
                *label = scan.drawn[i];
            }
        }
    }
    let n = labels.iter().filter(|&&l| l != NONE).count();
    (labels, n)
}

/// Labels of the scans that are learnt from; the part of the training voxels that they are.
fn label(s: &Setting, place: &Place, scans: &[Scan], round: &str, slices: &[Slice]) -> f64 {
    let [nx, ny, nz] = s.size;
    let (mut labelled, mut all) = (0, 0);
    for scan in learning(scans) {
        let (labels, n) = sparse(s, scan, slices);
        if scan.role == Role::Train {
            (labelled, all) = (labelled + n, all + labels.len());
        }
        place.write(format!("{round}/hand/{}.npy", scan.name), npy_of("|u1", &[nz, ny, nx], &labels));
    }
    labelled as f64 / all as f64
}

/// Ledgers of a round in a table of classes.
fn ledgers(place: &Place, scans: &[Scan], round: &str, to: &str, table: &str, map: &str, onto: Option<&str>) {
    for scan in learning(scans) {
        let name = &scan.name;
        // Who validates is not drafted.
        let onto =
            onto.filter(|_| scan.role == Role::Train).map_or(String::new(), |o| format!("--onto {o}/{name}.mhd"));
        place.step(
            &format!("{}_labels_{name}", to.replace('/', "_")),
            &format!(
                "labels import -q {round}/hand/{name}.npy --map {map} {table} --like {} {onto} -o {to}/{name}",
                scan.grey()
            ),
        );
    }
}

/// Lists patches and lets the cell that validates do so.
fn listed(s: &Setting, place: &Place, scans: &[Scan], to: &str, table: &str, how: &str) -> [String; 3] {
    let named: Vec<String> =
        learning(scans).map(|scan| format!("c{}:{}={to}/{}.mhd", scan.cell, scan.name, scan.name)).collect();
    let (patches, split, name) = (format!("{to}/patches.json"), format!("{to}/split.json"), to.replace('/', "_"));
    place.step(
        &format!("{name}_patches"),
        &format!("seg patches -q {} {how} --size {} {table} -o {patches}", named.join(" "), s.patch),
    );
    let cell = of(scans, Role::Validate).next().unwrap().cell;
    place.step(&format!("{name}_split"), &format!("seg split -q {patches} --by cell --validation c{cell} -o {split}"));
    [to.to_string(), patches, split]
}

/// Trains on a list.
fn train(place: &Place, scans: &[Scan], [to, patches, split]: &[String; 3], run: &str, more: &str) -> String {
    let given: Vec<String> =
        learning(scans).map(|scan| format!("{}={},{to}/{}.mhd", scan.name, scan.grey(), scan.name)).collect();
    place.step(
        &run.replace('/', "_"),
        &format!(
            "seg train -q --patches {patches} --split {split} {} --grey {GREY} --augment {} --schedule cosine --keep last \
             --dropout 0.1 {more} -o {run}",
            given.join(" "),
            AUGMENT[usize::from(!run.starts_with("r0"))]
        ),
    )
}

/// Predicts scans.
fn predict<'a>(s: &Setting, place: &Place, scans: impl Iterator<Item = &'a Scan>, run: &str, to: &str, more: &str) {
    for scan in scans {
        place.step(
            &format!("{}_{}", to.replace('/', "_"), scan.name),
            &format!(
                "seg predict -q --weights {run}/best.safetensors --input {} --roi {} --batch 4 {more} -o {to}/{}",
                scan.grey(),
                s.window,
                scan.name
            ),
        );
    }
}

/// Figures of predictions of the test cells, a row.
fn judged(
    place: &Place,
    scans: &[Scan],
    row: &str,
    file: impl Fn(&Scan) -> String,
    seconds: Option<f64>,
    t: &mut Table,
) {
    let name: String = row.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let list = |file: &dyn Fn(&Scan) -> String| of(scans, Role::Test).map(file).collect::<Vec<_>>().join(",");
    let masks = list(&|_| "scans/mask.npy".into());
    place.step(
        &format!("eval_{name}"),
        &format!(
            "seg eval -q --prediction {} --truth {} --mask {masks} --units {UNITS} --draws 300 -o metrics/{name}.json",
            list(&file),
            list(&Scan::truth_file)
        ),
    );
    t.metrics(place, row, &format!("metrics/{name}.json"), seconds);
}

/// The best that boundaries allow: the truth, each voxel what most of the eight from it onwards are, half a voxel away.
pub(crate) fn ceiling(s: &Setting, place: &Place, scans: &[Scan], table: &mut Table) {
    let [nx, ny, nz] = s.size;
    for scan in of(scans, Role::Test) {
        let to = format!("ceiling/{}.npy", scan.name);
        if place.has(&to) {
            continue;
        }
        let shifted: Vec<u8> = (0..scan.truth.len())
            .map(|i| {
                let (x, y, z) = (i % nx, i / nx % ny, i / (nx * ny));
                let mut counts = [0u8; CLASSES.len()];
                for corner in 0..8 {
                    let [x, y, z] = [
                        (x + (corner & 1)).min(nx - 1),
                        (y + (corner >> 1 & 1)).min(ny - 1),
                        (z + (corner >> 2)).min(nz - 1),
                    ];
                    // What registration did not see nobody knows.
                    let of = scan.truth[(z * ny + y) * nx + x];
                    counts.iter_mut().skip(usize::from(of)).take(1).for_each(|n| *n += 1);
                }
                let most = counts.iter().max().unwrap();
                let own = scan.truth[i];
                if own == NONE || counts[usize::from(own)] == *most {
                    own
                } else {
                    counts.iter().position(|c| c == most).unwrap() as u8
                }
            })
            .collect();
        place.write(to, npy_of("|u1", &[nz, ny, nx], &shifted));
    }
    judged(place, scans, "ceiling", |scan| format!("ceiling/{}.npy", scan.name), None, table);
}

/// The paper's stages up to what the last one learns from.
pub(crate) fn lists(s: &Setting, place: &Place, scans: &[Scan], table: &mut Table) -> Lists {
    for (name, classes, _) in TABLES {
        let text: String = classes.iter().enumerate().fold(String::new(), |mut text, (id, class)| {
            let _ = writeln!(text, "[[class]]\nid = {id}\nname = \"{class}\"");
            text
        });
        place.write(format!("{name}.toml"), text);
    }
    let (network, [nx, _, nz]) = (network(s), s.size);

    // In-plane slices by hand: pit, lithium, background.
    let mut slices: Vec<Slice> = learning(scans).flat_map(|scan| in_plane(s, scan)).collect();
    label(s, place, scans, "r0", &slices);
    let (name, _, map) = TABLES[0];
    let classes = format!("--classes {name}.toml");
    ledgers(place, scans, "r0", "r0/labels", &classes, map, None);
    let how = format!("--planes xz --slices :: --step {} --least-labelled 0.4", s.step);
    let list = listed(s, place, scans, "r0/labels", &classes, &how);
    let [in_plane, binary, ..] = s.epochs.map(|n| format!("--epochs {n}"));
    train(place, scans, &list, "r0/run", &format!("{network} {classes} --lr {} {in_plane}", RATE[0]));
    predict(s, place, of(scans, Role::Train), "r0/run", "r0/seg", &format!("--plane xz {classes}"));

    // Cross-sectional slices, one of each scan and some of who validates: electrode, and deposited lithium.
    let grid = |n: usize| (n - DRAFTS.0) / DRAFTS.1 * DRAFTS.1 + DRAFTS.0;
    let one = |scan: &Scan, plane: &'static str, quarter: usize| {
        let at = grid(quarter * if plane == "xy" { nz } else { nx } / 4);
        Slice { scan: scan.name.clone(), plane, at }
    };
    for (i, scan) in of(scans, Role::Train).enumerate() {
        slices.push(one(scan, ["xy", "yz"][i % 2], 2));
    }
    for scan in of(scans, Role::Validate) {
        slices.extend((1..4).flat_map(|quarter| ["xy", "yz"].map(|plane| one(scan, plane, quarter))));
    }
    label(s, place, scans, "r1", &slices);
    let cross =
        |slices: &str, step: usize| format!("--planes {CROSS} --slices {slices} --step {step} --least-labelled 0.4");
    for (name, _, map) in &TABLES[1..] {
        let (classes, to) = (format!("--classes {name}.toml"), format!("r1/{name}"));
        ledgers(place, scans, "r1", &format!("{to}/labels"), &classes, map, None);
        let list = listed(s, place, scans, &format!("{to}/labels"), &classes, &cross("::", s.step));
        train(place, scans, &list, &format!("{to}/run"), &format!("{network} {classes} --lr {} {binary}", RATE[0]));
        predict(s, place, of(scans, Role::Train), &format!("{to}/run"), &format!("{to}/seg"), &classes);
    }

    // Merged: where lithium is neither electrode nor deposited nobody knows whether it is a dendrite or one of the two that was
    // missed, and it stays unlabelled. What somebody drew stays.
    for scan in of(scans, Role::Train) {
        let name = &scan.name;
        let source = |at: &str, map: &str, priority: u32| {
            format!("[[source]]\nlabels = \"{at}/seg/{name}.mhd\"\nmap = \"{map}\"\npriority = {priority}\n")
        };
        place.write(
            format!("r2/merge/{name}.toml"),
            "conflict = \"priority\"\nnothing = \"unlabelled\"\n".to_string()
                + &source("r0", "0=background,1=pit,2=-", 0)
                + &source("r1/electrode", "0=-,1=electrode", 2)
                + &source("r1/deposited", "0=-,1=deposited", 1),
        );
        place.step(
            &format!("r2_merge_{name}"),
            &format!("seg merge -q r2/merge/{name}.toml --origin draft:1 -o r2/draft/{name}"),
        );
    }
    ledgers(place, scans, "r1", "r2/labels", "", "from-0", Some("r2/draft"));
    let far = cross(&format!("{}::{}", DRAFTS.0, DRAFTS.1), 3 * s.step / 2);
    let of_drafts = listed(s, place, scans, "r2/labels", "", &far);
    drafted(s, place, scans, &of_drafts, s.seeds[0]);

    // Slices that the network is least sure of, by hand; the network is refined on what is by hand alone.
    predict(s, place, of(scans, Role::Train), &format!("r2/run_{}", s.seeds[0]), "r2/seg", "--entropy");
    let n = of(scans, Role::Train).count();
    let maps: Vec<String> =
        of(scans, Role::Train).map(|scan| format!("{0}=r2/seg/{0}.entropy.mhd,r1/hand/{0}.npy", scan.name)).collect();
    place.step(
        "r3_propose",
        &format!(
            "seg propose {} --planes xy,yz -n {} --spread {n} --apart {} --edge {} -o r3/next.json",
            maps.join(" "),
            s.cross - n,
            s.apart[0],
            s.apart[1]
        ),
    );
    for proposed in json(&place.at("r3/next.json")).need_arr("slices").unwrap() {
        let plane = if proposed.need_str("plane").unwrap() == "xy" { "xy" } else { "yz" };
        let at = proposed.need_u64("slice").unwrap() as usize;
        slices.push(Slice { scan: proposed.need_str("scan").unwrap().into(), plane, at });
    }
    let part = label(s, place, scans, "r3", &slices);
    assert!(part <= s.labelled, "{part} of the training voxels are labelled, at most {} may be", s.labelled);
    table.note(format!("{:.2} % of the training voxels are labelled", 100.0 * part));
    ledgers(place, scans, "r3", "r3/labels", "", "from-0", None);
    let by_hand = listed(s, place, scans, "r3/labels", "", &cross("::", s.step));
    Lists { drafts: of_drafts, hand: by_hand }
}

fn network(s: &Setting) -> String {
    format!("--channels {} --context {} --batch {}", s.channels, s.context, s.batch)
}

fn weighted(s: &Setting) -> String {
    format!("--class-weights {}", s.class_weights.map(|w| w.to_string()).join(","))
}

/// A cross-sectional network of drafts and what is drawn; seconds of its training.
fn drafted(s: &Setting, place: &Place, scans: &[Scan], list: &[String; 3], seed: u32) -> f64 {
    let more = format!("{} {} --lr {} --seed {seed} --epochs {}", network(s), weighted(s), RATE[0], s.epochs[2]);
    said(&train(place, scans, list, &format!("r2/run_{seed}"), &more), "seconds")
}

/// The last stage with a seed, and its figures, in one plane and averaged over two.
pub(crate) fn refined(s: &Setting, place: &Place, scans: &[Scan], lists: &Lists, seed: u32, table: &mut Table) {
    let before = drafted(s, place, scans, &lists.drafts, seed);
    let run = format!("r3/run_{seed}");
    let more = format!(
        "--weights r2/run_{seed}/best.safetensors {} --batch {} --lr {} --seed {seed} --epochs {}",
        weighted(s),
        s.batch,
        RATE[1],
        s.epochs[3]
    );
    let took = before + said(&train(place, scans, &lists.hand, &run, &more), "seconds");
    for (to, row, planes) in [("xy", "ours, seed", "xy"), ("planes", "ours, planes averaged", CROSS)] {
        let to = format!("r3/{to}_{seed}");
        predict(s, place, of(scans, Role::Test), &run, &to, &format!("--plane {planes}"));
        judged(place, scans, &format!("{row} {seed}"), |scan| format!("{to}/{}.mhd", scan.name), Some(took), table);
    }
}

/// The paper's kind of split: patches that overlap by half, dealt one by one; and what is left of its figures.
pub(crate) fn leak(s: &Setting, place: &Place, scans: &[Scan], lists: &Lists, table: &mut Table) {
    let [to, patches, _] = &lists.hand;
    let split = "leak/split.json";
    std::fs::create_dir_all(place.at("leak")).unwrap();
    let told = place.step("leak_split", &format!("seg split {patches} --by patch --ratios 72/28 -o {split}"));
    let list = [to.clone(), patches.clone(), split.to_string()];
    let more = format!(
        "--weights r2/run_0/best.safetensors {} --batch {} --lr {} --epochs {}",
        weighted(s),
        s.batch,
        RATE[1],
        s.epochs[3]
    );
    train(place, scans, &list, "leak/run", &more);
    let text = std::fs::read_to_string(place.at("leak/run/epochs.csv")).unwrap();
    let rows: Vec<Vec<f64>> =
        text.lines().skip(1).map(|l| l.split(',').map(|v| v.parse().unwrap_or(f64::NAN)).collect()).collect();
    // Of the epoch that was kept.
    let iou = rows.last().unwrap()[7..].iter().map(|&v| Some(v).filter(|v| v.is_finite())).collect();
    table.numbers("split by patch, as it reports itself", iou, None);
    predict(s, place, of(scans, Role::Test), "leak/run", "leak/seg", "");
    let row = "split by patch, on cells never seen";
    judged(place, scans, row, |scan| format!("leak/seg/{}.mhd", scan.name), None, table);
    let leaks = told.lines().filter(|line| line.contains("trained on")).collect::<Vec<_>>().join("; ");
    table.note(format!("split by patch: {leaks}"));
}

/// Tells the peers what there is.
pub(crate) fn about(s: &Setting, place: &Place, scans: &[Scan], lists: &Lists) {
    let stage = |[to, patches, split]: &[String; 3], epochs: u32, rate: &str| {
        Json::obj([
            ("labels", to.as_str().into()),
            ("patches", patches.as_str().into()),
            ("split", split.as_str().into()),
            ("epochs", u64::from(epochs).into()),
            ("rate", rate.parse::<f64>().unwrap().into()),
        ])
    };
    let names = |role| Json::Arr(of(scans, role).map(|scan| scan.name.as_str().into()).collect());
    let of_cross = |name: &str| -> f64 {
        AUGMENT[1].split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap_or(0.0)
    };
    let grey: Vec<f64> = GREY.split(',').map(|v| v.parse().unwrap()).collect();
    let channels = s.channels.split(',').map(|c| c.parse::<u64>().unwrap().into()).collect();
    let about = Json::obj([
        (
            "stages",
            Json::Arr(vec![stage(&lists.drafts, s.epochs[2], RATE[0]), stage(&lists.hand, s.epochs[3], RATE[1])]),
        ),
        ("train", names(Role::Train)),
        ("validate", names(Role::Validate)),
        ("test", names(Role::Test)),
        ("grey", Json::from(&grey[..])),
        ("gain", of_cross("gain").into()),
        ("offset", of_cross("offset").into()),
        ("channels", Json::Arr(channels)),
        ("context", s.context.into()),
        ("batch", s.batch.into()),
        ("class_weights", Json::Arr(s.class_weights.iter().map(|&w| u64::from(w).into()).collect())),
        ("patch", s.patch.into()),
        ("window", s.window.into()),
        ("every", s.every.into()),
    ]);
    place.write("peers/about.json", about.to_canonical());
}

/// Torch with a seed.
pub(crate) fn torch(place: &Place, scans: &[Scan], seed: u32, table: &mut Table) {
    let to = format!("peers/torch_{seed}");
    if let Some(told) = place.peer(&format!("torch_{seed}"), &format!("unet peers/about.json --seed {seed} -o {to}")) {
        let seconds = Some(said(&told, "trained"));
        judged(place, scans, &format!("torch, seed {seed}"), |scan| format!("{to}/{}.npy", scan.name), seconds, table);
    }
}

/// A forest of filters on the same labels.
pub(crate) fn forest(place: &Place, scans: &[Scan], table: &mut Table) {
    if let Some(told) = place.peer("forest", "forest peers/about.json -o peers/forest") {
        let file = |scan: &Scan| format!("peers/forest/{}.npy", scan.name);
        judged(place, scans, "forest", file, Some(said(&told, "trained")), table);
    }
}

/// Figures by contrast to noise: cells as grey volumes, three to learn from and one to judge.
pub(crate) fn curve(s: &Setting, place: &Place, table: &mut Table) {
    let (list, preset, epochs) = s.curve;
    for cnr in list {
        let at = format!("curve/{cnr}");
        let mut scans = (Vec::new(), Vec::new());
        for cell in 301..305 {
            let to = format!("{at}/c{cell}");
            place.step(
                &format!("curve_{cnr}_{cell}"),
                &format!(
                    "phantom cell -q -o {to} --preset {preset} --mode volume --cnr {cnr} --only 8,14 --seed {cell} \
                     --annotate dense"
                ),
            );
            for step in ["08", "14"] {
                scans.0.push(format!("c{cell}:{cell}_{step}={to}/step_{step}/drawn.mhd"));
                scans.1.push(format!("{cell}_{step}={to}/step_{step}/grey.mhd,{to}/step_{step}/drawn.mhd"));
            }
        }
        // The last cell is judged.
        let (patches, split, run) = (format!("{at}/patches.json"), format!("{at}/split.json"), format!("{at}/run"));
        place.step(
            &format!("curve_{cnr}_patches"),
            &format!(
                "seg patches -q {} --planes xy --slices ::6 --size 64 --step 32 -o {patches}",
                scans.0[..6].join(" ")
            ),
        );
        place.step(
            &format!("curve_{cnr}_split"),
            &format!("seg split -q {patches} --by cell --validation c303 -o {split}"),
        );
        place.step(
            &format!("curve_{cnr}_run"),
            &format!(
                "seg train -q --patches {patches} --split {split} {} --grey {GREY} --augment {} --schedule cosine --keep last \
                 --dropout 0.1 --channels {} --context {} --batch {} --lr {} --epochs {epochs} -o {run}",
                scans.1[..6].join(" "),
                AUGMENT[1],
                s.channels,
                s.context,
                s.batch,
                RATE[0]
            ),
        );
        let (mut seen, mut truths) = (Vec::new(), Vec::new());
        for step in ["08", "14"] {
            place.step(
                &format!("curve_{cnr}_seg_{step}"),
                &format!(
                    "seg predict -q --weights {run}/best.safetensors --input {at}/c304/step_{step}/grey.mhd --roi 64 -o \
                     {at}/seg_{step}"
                ),
            );
            seen.push(format!("{at}/seg_{step}.mhd"));
            truths.push(format!("{at}/c304/truth/step_{step}/label_scan.mhd"));
        }
        place.step(
            &format!("curve_{cnr}_eval"),
            &format!(
                "seg eval -q --prediction {} --truth {} --truth-map cell-to-network --units {UNITS} --draws 300 -o {at}/m.json",
                seen.join(","),
                truths.join(",")
            ),
        );
        table.metrics(place, &format!("one stage, contrast to noise {cnr}"), &format!("{at}/m.json"), None);
    }
}
