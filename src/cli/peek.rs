//! `tomolith peek`: one plane of a volume as a picture.

use crate::cli::open::Input;
use crate::cli::options::{Opt, Takes};
use crate::cli::values::{self, GreyWindow};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::window::{DEFAULT_PERCENTILES, Window, to_grey};
use crate::os::check_interrupt;
use crate::volume::{Dims, Source};

/// The command.
pub const COMMAND: Command = Command {
    path: &["peek"],
    about: "Look at one plane of a volume or scan as a PNG picture",
    details: "Shows a plane of a native volume or .npy array, or a projection of a scan. xy is a tomographic slice \
              (of a scan: a projection), xz and yz are upright cuts. Black and white are the values at 0.5 % and \
              99.5 % unless --window gives them; NaN is painted magenta, infinities red and blue. The values that \
              are black and white are printed.",
    examples: "  tomolith peek out/tooth.mhd -o slice.png\n  \
               tomolith peek out/tooth.mhd -o cut.png --plane xz --slice 320 --window 0,0.01\n  \
               tomolith peek tooth.h5 -o projection.png --slice 90",
    groups: &[(
        "",
        &[
            Opt::new("file", Takes::Argument("FILE"), "The volume, array or scan"),
            Opt::new("output", Takes::Value("FILE.png"), "The picture to write").short('o'),
            Opt::new("slice", Takes::Number("K"), "Which plane, the first being 0 [default: the middle one]"),
            Opt::new("plane", Takes::Choice(&["xy", "xz", "yz"]), "Which way to cut").default("xy"),
            Opt::new("window", Takes::Number("LOW,HIGH"), "Values that are black and white, or auto").default("auto"),
            Opt::new("overwrite", Takes::Switch, "Replace an existing picture"),
        ],
    )],
    run,
};

/// How a volume is cut; the name gives the two axes in the picture, the first from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plane {
    Xy,
    Xz,
    Yz,
}

impl Plane {
    fn of(name: &str) -> Plane {
        match name {
            "xz" => Plane::Xz,
            "yz" => Plane::Yz,
            _ => Plane::Xy,
        }
    }
    /// Number of planes, width and height of one.
    fn extents(self, d: Dims) -> (usize, usize, usize) {
        match self {
            Plane::Xy => (d.nz, d.nx, d.ny),
            Plane::Xz => (d.ny, d.nx, d.nz),
            Plane::Yz => (d.nx, d.ny, d.nz),
        }
    }
}

fn run(context: &Context) -> Result<()> {
    let settings = &context.settings;
    let path = settings.required_path("file")?;
    let output = settings.required_path("output")?;
    let overwrite = settings.is_on("overwrite")?;
    let plane = settings.parsed("plane", |name| Ok(Plane::of(name)))?;
    let asked = settings.parsed("window", GreyWindow::parse)?;
    let slice = settings.parse("slice", values::index)?;
    if crate::cli::open::extension(&output) != "png" {
        return Err(Error::usage("--output: a picture has the extension .png").help("write -o NAME.png").at(&output));
    }
    if !overwrite && output.symlink_metadata().is_ok() {
        return Err(Error::writing(&output, &std::io::ErrorKind::AlreadyExists.into()));
    }
    let input = Input::open(&path, context)?;
    let source = input.source();
    let (count, width, height) = plane.extents(source.dims());
    let slice = slice.unwrap_or(count / 2);
    if slice >= count {
        let e = Error::usage(format!("there is no plane {slice}")).help(format!("the planes are 0 to {}", count - 1));
        return Err(settings.blame("slice", e).at(&path));
    }
    let values = read_plane(source, plane, slice).map_err(|e| e.at(&path))?;
    let window = match asked {
        GreyWindow::Values(low, high) => {
            Window::new(low as f32, high as f32).map_err(|e| settings.blame("window", e))?
        }
        GreyWindow::Auto => {
            let (low, high) = DEFAULT_PERCENTILES;
            Window::of_percentiles(&values, low, high)?.ok_or_else(|| {
                Error::data(format!("no value of plane {slice} is finite")).help("choose another --slice").at(&path)
            })?
        }
    };
    let picture = to_grey(&values, width, height, window)?;
    picture.write(&output, overwrite)?;
    if picture.non_finite() > 0 {
        context.talk.warn(format!("{} pixels are not finite and painted in colour", picture.non_finite()));
    }
    context.out.line(format!(
        "{} {width}x{height} black {} white {}",
        crate::cli::output::printable(&output.to_string_lossy()),
        window.low(),
        window.high()
    ))
}

/// Values of a block read at a time while cutting upright: 4 MiB.
const BLOCK: usize = 1 << 20;

/// The values of a plane, `[row][column]`.
fn read_plane(source: &dyn Source, plane: Plane, slice: usize) -> Result<Vec<f32>> {
    let d = source.dims();
    let (_, width, height) = plane.extents(d);
    let mut values = Vec::new();
    values.try_reserve_exact(width * height).map_err(|_| {
        Error::data(format!("a plane of {width} x {height} values does not fit into memory")).help("cut another way")
    })?;
    values.resize(width * height, 0.0);
    match plane {
        Plane::Xy => {
            let rows = (BLOCK / d.nx).max(1);
            for (i, block) in values.chunks_mut(rows * d.nx).enumerate() {
                let first = i * rows;
                source.read(slice..slice + 1, first..first + block.len() / d.nx, block)?;
                check_interrupt()?;
            }
        }
        Plane::Xz => {
            let slices = (BLOCK / d.nx).max(1);
            for (i, block) in values.chunks_mut(slices * d.nx).enumerate() {
                let first = i * slices;
                source.read(first..first + block.len() / d.nx, slice..slice + 1, block)?;
                check_interrupt()?;
            }
        }
        Plane::Yz => {
            let rows = (BLOCK / d.nx).clamp(1, d.ny);
            let mut block = Vec::new();
            for (z, line) in values.chunks_exact_mut(d.ny).enumerate() {
                for first in (0..d.ny).step_by(rows) {
                    let y = first..(first + rows).min(d.ny);
                    block.resize(y.len() * d.nx, 0.0);
                    source.read(z..z + 1, y.clone(), &mut block)?;
                    for (y, row) in y.zip(block.chunks_exact(d.nx)) {
                        line[y] = row[slice];
                    }
                }
                check_interrupt()?;
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Memory;

    #[test]
    fn planes_are_cut_as_their_names_say() {
        let d = Dims::new(3, 4, 5).unwrap();
        let at = |z: usize, y: usize, x: usize| (100 * z + 10 * y + x) as f32;
        let values = (0..3).flat_map(|z| (0..4).flat_map(move |y| (0..5).map(move |x| at(z, y, x)))).collect();
        let volume = Memory::new(d, values).unwrap();
        let plane = |plane, slice| read_plane(&volume, plane, slice).unwrap();
        let expected = |height: usize, width: usize, f: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            (0..height).flat_map(|row| (0..width).map(move |column| (row, column))).map(|(r, c)| f(r, c)).collect()
        };
        assert_eq!(plane(Plane::Xy, 2), expected(4, 5, &|y, x| at(2, y, x)));
        assert_eq!(plane(Plane::Xz, 3), expected(3, 5, &|z, x| at(z, 3, x)));
        assert_eq!(plane(Plane::Yz, 4), expected(3, 4, &|z, y| at(z, y, 4)));
    }
}
