//! `tomolith seg sheet`: slices with what was drawn, what was predicted, where the two differ and how sure the network is.

use super::patches::planes;
use crate::cli::canvas::{BLACK, Canvas};
use crate::cli::labels::{CLASSES, OVERWRITE, classes, indices};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::open_stack;
use crate::segment::classes::{Classes, Mapping};
use crate::segment::import::other_shape;
use crate::segment::orient::{Plane, Turned};
use crate::volume::Source;

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "sheet"],
    about: "Show slices on one sheet: grey values, labels, prediction, error, uncertainty",
    details: "A row for each slice of --at and plane. Labels and predictions have the colours of the classes, white where nobody \
              said anything; the error is dark where the prediction is right, in the colour of the label where it is not, white \
              without a label. Uncertainty is a map of `seg predict`, black for 0, white for 1. Grey values go from black to \
              white between --grey LOW,HIGH.",
    examples: "  tomolith seg sheet --input recon.mhd --grey 0,1.2 --labels truth.mhd --prediction out/seg.mhd \\\n    \
               --uncertainty out/seg.entropy.mhd --at 40,128 -o sheet.png",
    groups: &[(
        "",
        &[
            Opt::new("input", Takes::Value("VOLUME"), "Grey values"),
            Opt::new("grey", Takes::Number("LOW,HIGH"), "Grey values that are black and white"),
            Opt::new("labels", Takes::Value("VOLUME"), "Labels or truth"),
            Opt::new("labels-map", Takes::Value("NAME|RULES"), "What their values mean").default("from-0"),
            Opt::new("prediction", Takes::Value("VOLUME"), "Predicted classes"),
            Opt::new("uncertainty", Takes::Value("VOLUME"), "Entropy, mutual information or margin"),
            Opt::new("plane", Takes::Value("PLANE,…"), "Slices of which planes").default("xy"),
            Opt::new("at", Takes::Value("N,N,…"), "Numbers of the slices"),
            CLASSES,
            Opt::new("output", Takes::Value("FILE.png"), "Where to write").short('o'),
            OVERWRITE,
        ],
    )],
    run,
};

/// Around pictures.
const MARGIN: usize = 6;
/// For text.
const LINE: usize = 12;
/// Where the prediction is right.
const RIGHT: [u8; 3] = [40; 3];
const WHITE: [u8; 3] = [255; 3];
/// Most pixels of a sheet.
const MOST: usize = 1 << 28;

/// A column of the sheet.
enum Column {
    Grey([f32; 2]),
    Classes(Mapping),
    Map,
}

/// Colours of a slice, and its classes where it has some.
type Shown = (Vec<[u8; 3]>, Vec<Option<u8>>);
type Volume = (&'static str, Box<dyn Source>, Column);

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let out = s.required_path("output")?;
    let (table, _) = classes(s)?;
    let of_planes = s.parsed("plane", planes)?;
    let at =
        s.parse("at", indices)?.ok_or_else(|| Error::usage("--at is missing").help("which slices: --at 40,128"))?;
    let mut volumes: Vec<Volume> = Vec::new();
    let open = |name: &str| s.path(name)?.map(|path| open_stack(&path, c.io)).transpose();
    if let Some(volume) = open("input")? {
        let grey = s.parse("grey", super::predict::grey)?;
        let grey = grey.ok_or_else(|| Error::usage("--grey is missing").help("which values are black and white"))?;
        volumes.push(("GREY", volume, Column::Grey([grey.low, grey.high])));
    }
    if let Some(volume) = open("labels")? {
        let map = s.parsed("labels-map", |text| Mapping::parse(text, &table))?;
        volumes.push(("LABELS", volume, Column::Classes(map)));
    }
    if let Some(volume) = open("prediction")? {
        volumes.push(("PREDICTION", volume, Column::Classes(Mapping::parse("from-0", &table)?)));
    }
    if let Some(volume) = open("uncertainty")? {
        volumes.push(("UNCERTAINTY", volume, Column::Map));
    }
    let Some((before, dims)) = volumes.first().map(|(name, v, _)| (*name, v.dims())) else {
        return Err(Error::usage("nothing to show").help("give --input, --labels, --prediction or --uncertainty"));
    };
    if let Some((name, volume, _)) = volumes.iter().find(|(_, v, _)| v.dims() != dims) {
        let option = |name: &str| format!("--{}", if name == "GREY" { "input".into() } else { name.to_lowercase() });
        let (name, before) = (option(name), option(before));
        return Err(other_shape((&format!("volume of {name}"), volume.dims()), (&format!("one of {before}"), dims)));
    }
    let position = |name: &str| volumes.iter().position(|(n, ..)| *n == name);
    let error = position("LABELS").zip(position("PREDICTION"));
    let slices: Vec<(Plane, usize)> = of_planes.iter().flat_map(|&p| at.iter().map(move |&i| (p, i))).collect();
    let mut names: Vec<&str> = volumes.iter().map(|(name, ..)| *name).collect();
    if let Some((_, prediction)) = error {
        names.insert(prediction + 1, "ERROR");
    }
    let wide = of_planes.iter().map(|p| p.dims(dims).nx).max().unwrap_or(0).max(80) + MARGIN;
    let heights: Vec<usize> = slices.iter().map(|(p, _)| p.dims(dims).ny + LINE + MARGIN).collect();
    let (width, height) = (MARGIN + names.len() * wide, 2 * MARGIN + 2 * LINE + heights.iter().sum::<usize>());
    if width.saturating_mul(height) > MOST {
        return Err(Error::usage(format!("a sheet of {width} x {height} pixels")).help("show fewer slices"));
    }
    let mut canvas = Canvas::new(width, height);
    legend(&mut canvas, &table);
    let mut top = MARGIN + LINE + LINE / 2;
    for ((plane, slice), height) in slices.into_iter().zip(heights) {
        let d = plane.dims(dims);
        if slice >= d.nz {
            return Err(Error::usage(format!("--at {slice}: the plane {} has slices 0 to {}", plane.name(), d.nz - 1)));
        }
        let mut columns: Vec<Shown> = Vec::new();
        for (_, volume, column) in &volumes {
            let mut values = vec![0f32; d.slice()];
            Turned::slices(volume.as_ref(), plane)?.read(slice..slice + 1, 0..d.ny, &mut values)?;
            columns.push(drawn(&values, column, &table));
        }
        if let Some((labels, prediction)) = error {
            let of = |(said, seen): (&Option<u8>, &Option<u8>)| match said {
                None => WHITE,
                Some(_) if said == seen => RIGHT,
                Some(label) => colour(&table, *label),
            };
            let pixels = columns[labels].1.iter().zip(&columns[prediction].1).map(of).collect();
            columns.insert(prediction + 1, (pixels, Vec::new()));
        }
        for (i, ((pixels, _), name)) in columns.iter().zip(&names).enumerate() {
            let left = MARGIN + i * wide;
            canvas.text((left, top), &format!("{name} {} {slice}", plane.name().to_uppercase()), BLACK);
            for (k, &rgb) in pixels.iter().enumerate() {
                canvas.dot((left + k % d.nx) as f64, (top + LINE + k / d.nx) as f64, rgb);
            }
        }
        top += height;
    }
    canvas.write(&out, s.is_on("overwrite")?)?;
    c.out.line(format!("{}  {width} x {height}", out.display()))
}

fn colour(table: &Classes, class: u8) -> [u8; 3] {
    table.list().get(usize::from(class)).map_or(WHITE, |c| c.colour)
}

/// Names of the classes in their colours, at the top.
fn legend(canvas: &mut Canvas, table: &Classes) {
    let mut left = MARGIN;
    for class in table.list() {
        for (x, y) in (0..LINE - 4).flat_map(|x| (0..LINE - 4).map(move |y| (x, y))) {
            canvas.dot((left + x) as f64, (MARGIN + y) as f64, class.colour);
        }
        let name = class.name.to_uppercase();
        canvas.text((left + LINE, MARGIN), &name, BLACK);
        left += 2 * LINE + crate::exchange::font::width(&name, 1);
    }
}

/// Colours of a slice, and its classes where it has some.
fn drawn(values: &[f32], column: &Column, table: &Classes) -> Shown {
    let part = |v: f32, [low, high]: [f32; 2]| [((v - low) / (high - low) * 255.0).clamp(0.0, 255.0) as u8; 3];
    match column {
        Column::Grey(window) => (values.iter().map(|&v| part(v, *window)).collect(), Vec::new()),
        Column::Map => (values.iter().map(|&v| part(v, [0.0, 1.0])).collect(), Vec::new()),
        Column::Classes(map) => {
            let unlabelled = crate::segment::UNLABELLED;
            let of: Vec<Option<u8>> =
                values.iter().map(|&v| map.label(v).filter(|&label| label != unlabelled)).collect();
            (of.iter().map(|class| class.map_or(WHITE, |k| colour(table, k))).collect(), of)
        }
    }
}
