//! `tomolith labels import`: labels of another program become a ledger.

use super::{CLASSES, MAP, OUTPUT, OVERWRITE};
use crate::cli::open::is_native;
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::stitch::{output, with_role};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::{open_labels, open_stack};
use crate::json::Json;
use crate::os::check_interrupt;
use crate::segment::UNLABELLED;
use crate::segment::classes::Mapping;
use crate::segment::explained::{Laid, Sample};
use crate::segment::import::{BAND, Change, Incoming, Onto};
use crate::segment::ledger::{Ledger, LedgerWriter, Making, Origin, is_export, origins_of, read_u8};
use crate::segment::orient::{Axes, Plane, Turned, each_slice};
use crate::volume::Source;
use crate::volume::reader::Reader;
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["labels", "import"],
    about: "Bring labels of Dragonfly, Fiji, napari, webKnossos or NumPy into a ledger",
    details: "FILE is a .tiff, a folder or pattern of them, .npy, .mhd, .mrc or FILE.h5:/path. Of images with a palette of 8 bits, \
              as Fiji saves labels with a lookup table, the indices are read. What its values mean is never \
              guessed: --map says it; the label tools keep 0 for what nobody painted, so class 0 (background) is 1 there. \
              webKnossos' Python library gives arrays with axes xyz; its TIFF is zyx. Labels of another shape than --like are \
              refused with the orders of axes that would fit. With --plane and --at the images are only those slices, in this \
              order: rows and columns of xy are y and x, of xz z and x, of yz z and y. Written are NAME (class, 255 \
              unlabelled) and NAME.origin (who said it: 1 human, 2 corrected, 4 rule, 16 + r draft of round r). With --onto \
              what is there stays where nothing comes; a voxel that gets the class it has keeps its origin. A ledger that is imported \
              again brings its origins with it, unless --origin says otherwise.",
    examples: "  tomolith labels import painted.tif --map fiji --like recon.mhd -o labels/scan_07\n  \
               tomolith labels import napari.npy --map napari --like recon.mhd -o labels/scan_07\n  \
               tomolith labels import volume.npy --map webknossos --axes xyz --like recon.mhd -o labels/scan_07\n  \
               tomolith labels import 'cuts/*.tif' --map dragonfly --plane xz --at 100,140,180 --like recon.mhd -o labels/s\n  \
               tomolith labels import fixed.npy --map napari --onto draft.mhd --origin corrected -o labels/round_2",
    groups: &[(
        "",
        &[
            Opt::new("file", Takes::Argument("FILE"), "What to read"),
            MAP,
            Opt::new("like", Takes::Value("VOLUME"), "The volume that was labelled: its shape and voxel size"),
            Opt::new("axes", Takes::Number("ORDER"), "Axes of the file, slowest first; a minus runs backwards")
                .default("zyx"),
            Opt::new("plane", Takes::Choice(&["xy", "xz", "yz", "zy"]), "The images are slices of this plane"),
            Opt::new("at", Takes::Value("N,N,…"), "Numbers of these slices, one for each image"),
            Opt::new(
                "origin",
                Takes::Value("NAME"),
                "Who labelled: human, corrected, rule or draft:ROUND [default: what a ledger says, else human]",
            ),
            Opt::new("onto", Takes::Value("LABELS"), "Put them onto these labels"),
            Opt::new(
                "keep",
                Takes::Switch,
                "With --onto: labels that are there stay, such as those of a human under a draft",
            ),
            Opt::new("erase", Takes::Switch, "With --onto: unlabelled takes away what is there"),
            CLASSES,
            OUTPUT,
            OVERWRITE,
        ],
    )],
    run,
};

/// Whether a volume's manifest says that it was made here as classes: what its values mean is known.
fn has_classes(c: &Context, path: &Path) -> bool {
    is_native(path) && Reader::open(path, c.io).is_ok_and(|v| v.manifest().is_some() && !is_export(&v))
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (base, overwrite) = output(c)?;
    let path = s.required_path("file")?;
    let (classes, table) = super::classes(s)?;
    let mapping = match super::mapping(s, "map", &classes)? {
        Some(mapping) => mapping,
        None if has_classes(c, &path) => Mapping::parse("from-0", &classes)?,
        None => {
            return Err(Error::usage("--map is missing: what the file's values mean is not guessed").help(
                "write --map napari (or fiji, dragonfly, webknossos: 0 is unlabelled, classes from 1), --map from-0, or \
                 rules such as 0=-,1=background",
            ));
        }
    };
    let said = s.parse("origin", Origin::parse)?;
    let origin = said.unwrap_or(Origin::HUMAN);
    let onto = s.path("onto")?.map(|path| Ledger::open(&path, c.io)).transpose()?;
    let like = s.path("like")?.map(|path| open_stack(&path, c.io)).transpose()?;
    let (erase, keep) = (s.is_on("erase")?, s.is_on("keep")?);
    if (erase || keep) && onto.is_none() {
        return Err(Error::usage("--erase and --keep are about labels that are there").help("give them with --onto"));
    }
    if erase && keep {
        return Err(Error::usage("--erase and --keep exclude each other").help("give one of them"));
    }
    let wanted = match (&onto, &like) {
        (Some(ledger), Some(like)) if ledger.dims() != like.dims() => {
            return Err(Error::data("--onto and --like have other shapes").help("leave --like out"));
        }
        (Some(ledger), _) => Some(ledger.dims()),
        (None, like) => like.as_ref().map(|l| l.dims()),
    };
    let source = open_labels(&path, c.io)?;
    let axes = s.parsed("axes", Axes::parse)?;
    let (plane, at) = (s.parse("plane", Plane::parse)?, s.parse("at", super::indices)?);
    if plane.is_some() && axes != Axes::NATIVE {
        return Err(Error::usage("--axes orders a whole volume, and --plane takes slices as they are")
            .help("name the plane whose rows and columns are those of the images"));
    }
    let has_origins = is_native(&path) && origins_of(&path).exists();
    let own = match has_origins && said.is_none() && plane.is_none() {
        true => Some(Ledger::open(&path, c.io)?),
        false => None,
    };
    let own_origins = own.as_ref().and_then(|ledger| ledger.origins.as_ref());
    let own_origins = own_origins.map(|origins| Turned::new(origins, axes)).transpose()?;
    let incoming = match (plane, &at, wanted) {
        (None, None, _) => Incoming::whole(source.as_ref(), axes, &mapping, wanted),
        (Some(plane), Some(at), Some(dims)) => Incoming::slices(source.as_ref(), &mapping, plane, at, dims),
        (Some(_), Some(_), None) => Err(Error::usage("slices of which volume?").help("give it with --like or --onto")),
        _ => Err(Error::usage("--plane and --at belong together").help("such as --plane xz --at 100,140")),
    }
    .map_err(|e| e.at(&path))?;
    incoming.survey().map_err(|e| e.at(&path))?;

    let spacing = [onto.as_ref().map(|l| &l.labels as &dyn Source), like.as_deref(), Some(source.as_ref())];
    let spacing = spacing.into_iter().flatten().next().and_then(Source::spacing);
    let mut inputs = with_role(source.inputs()?, "incoming");
    inputs.extend(table);
    for ledger in onto.iter().chain(&own) {
        inputs.extend(ledger.inputs()?);
    }
    let params = Json::obj([
        ("map", mapping.to_text().into()),
        ("axes", axes.name().into()),
        ("plane", plane.map_or(Json::Null, |p| p.name().into())),
        ("at", at.map_or(Json::Null, |list| Json::Arr(list.into_iter().map(Json::from).collect()))),
        ("origin", if own_origins.is_some() { "of the file".into() } else { origin.name().into() }),
        ("onto", onto.is_some().into()),
        ("erase", erase.into()),
        ("keep", keep.into()),
    ]);
    let dims = incoming.dims();
    let making = Making { dims, spacing, stage: "labels", params, inputs, origins: true };
    let mut writer = LedgerWriter::create(&base, making, &classes, overwrite)?;
    let rule = Onto { origin, erase, keep };
    let progress = Progress::new(&c.talk, "labels", "slices");
    let band = (BAND / (4 * dims.slice() as u64)).clamp(1, dims.nz as u64) as usize;
    let [mut comes, mut labels, mut origins, mut from] = [(); 4].map(|()| vec![0u8; band * dims.slice()]);
    let mut sample = Sample::default();
    while writer.next_slice() < dims.nz {
        check_interrupt()?;
        let z = writer.next_slice()..(writer.next_slice() + band).min(dims.nz);
        let n = z.len() * dims.slice();
        incoming.read(z.clone(), &mut comes[..n]).map_err(|e| e.at(&path))?;
        match &own_origins {
            Some(own) => read_u8(own, z.clone(), &mut from[..n])?,
            None => from[..n].fill(0),
        }
        match &onto {
            Some(ledger) => ledger.read(z.clone(), &mut labels[..n], &mut origins[..n])?,
            None => {
                labels[..n].fill(UNLABELLED);
                origins[..n].fill(0);
            }
        }
        for slice in 0..z.len() {
            let at = slice * dims.slice()..(slice + 1) * dims.slice();
            let (labels, origins) = (&mut labels[at.clone()], &mut origins[at.clone()]);
            let mut changes = [0u64; 4];
            let coming = comes[at.clone()].iter().zip(&from[at]);
            for (i, ((l, o), (&comes, &from))) in labels.iter_mut().zip(origins.iter_mut()).zip(coming).enumerate() {
                // A class volume without origins: whoever drew it is taken for a human.
                let there = (*l, if *l != UNLABELLED && *o == 0 { Origin::HUMAN.0 } else { *o });
                let rule = Onto { origin: if from == 0 { origin } else { Origin(from) }, ..rule };
                let change;
                ((*l, *o), change) = rule.voxel(there, comes);
                changes[change as usize] += 1;
                if like.is_some() && *l != UNLABELLED {
                    sample.add([i % dims.nx, i / dims.nx, z.start + slice], *l);
                }
            }
            for (name, change) in [("new", Change::New), ("changed", Change::Changed), ("erased", Change::Erased)] {
                writer.count(name, changes[change as usize])?;
            }
            writer.count("labelled", labels.iter().filter(|&&l| l != UNLABELLED).count() as u64)?;
            writer.write(labels, origins)?;
        }
        progress.update(z.end as u64, dims.nz as u64, (z.end * dims.slice()) as u64);
    }
    progress.finish();
    let manifest = writer.finish(Vec::new(), c.run_record())?;
    if let Some(like) = &like {
        let mut laid = Laid::new(&sample, dims);
        each_slice(like.as_ref(), 0..dims.nz, BAND, |z, slice| {
            laid.slice(z, slice);
            Ok(())
        })?;
        laid.better().into_iter().for_each(|better| c.talk.warn(better.text()));
    }
    super::counts(c, &manifest)?;
    super::written(c, &base, &manifest)
}
