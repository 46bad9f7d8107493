//! A stack of TIFF images: the pages of one file, the files of a folder, or those that a pattern names.
//!
//! Files are sorted by name, numbers in it by value: `raw_2.tiff` before `raw_10.tiff`. All images have one shape and one
//! type; what differs is refused by name. No file stays open: a stack of thousands needs one handle per thread.

use super::super::file::OpenFile;
use super::super::plain::{check_block, read_run, unfit};
use super::{Data, Page, not_grey, pages};
use crate::error::{Error, Result};
use crate::provenance::{Digest, InputFile};
use crate::volume::{Dims, Dtype, Source};
use rayon::prelude::*;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Most files of a stack.
const MOST_FILES: usize = 1 << 20;

/// A stack of images.
pub struct TiffStack {
    role: String,
    name: String,
    files: Vec<PathBuf>,
    /// File and page of every image; images behind one page count up.
    images: Vec<(usize, usize, usize)>,
    pages: Vec<Vec<Page>>,
    dims: Dims,
    input: OnceLock<InputFile>,
}

/// Whether a path means a stack of files: a folder, or a name with `*` or `?` that is no file's.
pub fn is_stack(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_dir() || name.contains(['*', '?']) && !path.exists()
}

impl TiffStack {
    /// Opens a file, a folder or a pattern; `role` names it among the inputs of a result.
    ///
    /// # Errors
    /// Missing: no such file, no image in the folder. Data: an image that is not read, or not like the first; a palette.
    pub fn open(path: &Path, role: &str) -> Result<TiffStack> {
        let stack = TiffStack::open_labels(path, role)?;
        match stack.pages.iter().position(|pages| pages.iter().any(|p| p.palette)) {
            Some(file) => Err(not_grey().at(&stack.files[file])),
            None => Ok(stack),
        }
    }

    /// The same for labels, which may be indices of a palette: Fiji saves what is drawn with a lookup table so. The colours
    /// are not looked at.
    ///
    /// # Errors
    /// As [`TiffStack::open`], but for palettes.
    pub fn open_labels(path: &Path, role: &str) -> Result<TiffStack> {
        let files = if is_stack(path) { list(path)? } else { vec![path.to_path_buf()] };
        let name = path.file_name().map_or_else(|| ".".into(), |n| n.to_string_lossy().into_owned());
        let parsed: Vec<Result<Vec<Page>>> = files.par_iter().map(|file| pages(&OpenFile::open(file)?)).collect();
        let mut stack = TiffStack {
            role: role.to_string(),
            name,
            images: Vec::new(),
            pages: Vec::with_capacity(files.len()),
            dims: Dims { nz: 0, ny: 0, nx: 0 },
            files,
            input: OnceLock::new(),
        };
        for (file, parsed) in parsed.into_iter().enumerate() {
            let parsed = parsed?;
            let first = stack.pages.first().unwrap_or(&parsed)[0].clone();
            for (page, image) in parsed.iter().enumerate() {
                if (image.width, image.height, image.number.kind) != (first.width, first.height, first.number.kind) {
                    return Err(Error::data(format!(
                        "image {page} is {} x {} {}, and the first of the stack is {} x {} {}",
                        image.width,
                        image.height,
                        image.number.name(),
                        first.width,
                        first.height,
                        first.number.name()
                    ))
                    .help("put flats, darks and other images into folders of their own, or name a pattern: 'dir/raw_*.tiff'")
                    .at(&stack.files[file]));
                }
                stack.images.extend((0..=image.behind).map(|k| (file, page, k)));
            }
            stack.pages.push(parsed);
        }
        let first = &stack.pages[0][0];
        stack.dims = Dims::new(stack.images.len(), first.height, first.width).map_err(|e| e.at(path))?;
        Ok(stack)
    }

    /// What a user should know about it.
    pub fn notes(&self, what: &str) -> Vec<String> {
        self.pages[0][0].number.rounding_note(what).into_iter().collect()
    }

    fn read_rows(&self, image: usize, y: Range<usize>, out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
        let (file, page, behind) = self.images[image];
        let page = &self.pages[file][page];
        let path = &self.files[file];
        let file = OpenFile::open(path)?;
        let (nx, size) = (page.width, page.number.size());
        let row = (nx * size) as u64;
        let pieces = match &page.data {
            Data::Rows(first) => {
                let offset = first + (behind * page.height + y.start) as u64 * row;
                let place = |i: usize| [image, y.start + i / nx, i % nx];
                return read_run(&file, page.number, offset, out, bytes, place);
            }
            Data::Pieces(pieces) => pieces,
        };
        let [wide, high] = page.piece;
        let across = nx.div_ceil(wide);
        let mut values = vec![0.0f32; wide];
        for band in y.start / high..y.end.div_ceil(high) {
            for column in 0..across {
                let (offset, length) = pieces[band * across + column];
                let held = if page.tiled { high } else { high.min(page.height - band * high) };
                bytes.resize(length as usize, 0);
                file.read_at(offset, bytes)?;
                let unpacked =
                    page.packing.unpack(bytes, wide * held * size, wide, page.number).map_err(|e| e.at(path))?;
                for (r, line) in unpacked.chunks_exact(wide * size).enumerate() {
                    let at = band * high + r;
                    if !y.contains(&at) {
                        continue;
                    }
                    let first = column * wide;
                    let width = wide.min(nx - first);
                    page.number
                        .decode(line, &mut values)
                        .map_err(|i| unfit::<f32>(page.number, [image, at, first + i]).at(path))?;
                    out[(at - y.start) * nx + first..][..width].copy_from_slice(&values[..width]);
                }
            }
        }
        Ok(())
    }
}

impl Source for TiffStack {
    fn dims(&self) -> Dims {
        self.dims
    }
    fn dtype(&self) -> Dtype {
        self.pages[0][0].number.dtype()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        check_block(self.dims, &z, &y, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let results: Vec<Result<()>> = out
            .par_chunks_mut(y.len() * self.dims.nx)
            .zip(z)
            .map_init(Vec::new, |bytes, (out, image)| self.read_rows(image, y.clone(), out, bytes))
            .collect();
        results.into_iter().collect()
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        z.map(|image| {
            let (file, page, _) = self.images[image];
            let page = &self.pages[file][page];
            match &page.data {
                Data::Rows(_) => (y.len() * page.width * page.number.size()) as u64,
                Data::Pieces(pieces) => {
                    let [wide, high] = page.piece;
                    let across = page.width.div_ceil(wide);
                    let touched = y.start / high * across..y.end.div_ceil(high) * across;
                    pieces[touched].iter().map(|(_, length)| length).sum()
                }
            }
        })
        .sum()
    }
    /// One entry for the whole stack: of several files the digest is that of the lines `sha256 bytes name` in order.
    fn inputs(&self) -> Result<Vec<InputFile>> {
        if let Some(input) = self.input.get() {
            return Ok(vec![input.clone()]);
        }
        let each: Vec<Result<InputFile>> =
            self.files.par_iter().map(|path| OpenFile::open(path)?.input(&self.role)).collect();
        let each: Vec<InputFile> = each.into_iter().collect::<Result<_>>()?;
        let input = match each.as_slice() {
            [one] => one.clone(),
            many => {
                let lines: String =
                    many.iter().map(|f| format!("{} {} {}\n", f.digest.hex(), f.bytes, f.name)).collect();
                InputFile {
                    role: self.role.clone(),
                    name: self.name.clone(),
                    bytes: many.iter().map(|f| f.bytes).sum(),
                    digest: Digest::of(lines.as_bytes()),
                }
            }
        };
        Ok(vec![self.input.get_or_init(|| input).clone()])
    }
}

/// The files of a folder or a pattern, in order.
fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let (folder, pattern) = match path.is_dir() {
        true => (path, None),
        false => (path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")), path.file_name()),
    };
    let pattern = pattern.map(|p| p.to_string_lossy().into_owned());
    let mut names: Vec<OsString> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::reading(folder, &e))? {
        let name = entry.map_err(|e| Error::reading(folder, &e))?.file_name();
        let text = name.to_string_lossy().into_owned();
        let wanted = match &pattern {
            Some(pattern) => matches(pattern, &text),
            None => text.to_lowercase().ends_with(".tif") || text.to_lowercase().ends_with(".tiff"),
        };
        if wanted && !text.starts_with('.') {
            names.push(name);
        }
        if names.len() > MOST_FILES {
            return Err(Error::data(format!("more than {MOST_FILES} files")).at(path));
        }
    }
    if names.is_empty() {
        return Err(Error::missing("no TIFF image here").help("name a folder of .tiff files, or a pattern").at(path));
    }
    names.sort_by_key(|name| natural(&name.to_string_lossy()));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// A key that sorts numbers in a name by their value, then the name itself.
fn natural(name: &str) -> (Vec<(String, u128)>, String) {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        parts.push((text.to_string(), tail[..end].parse().unwrap_or(u128::MAX)));
        rest = &tail[end..];
    }
    (parts, name.to_string())
}

/// Whether `name` is `pattern`, in which `*` stands for any text and `?` for one character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => (p, n) = (p + 1, n + 1),
            // What the last star stands for becomes longer by one.
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod order {
    use super::*;

    #[test]
    fn names_sort_by_their_numbers() {
        let mut names = ["raw_10.tif", "raw_2.tif", "raw_02.tif", "a.tif", "raw_1_3.tif", "raw_1_12.tif"];
        names.sort_by_key(|n| natural(n));
        assert_eq!(names, ["a.tif", "raw_1_3.tif", "raw_1_12.tif", "raw_02.tif", "raw_2.tif", "raw_10.tif"]);
    }

    #[test]
    fn patterns() {
        for (pattern, name, is) in [
            ("raw_*.tiff", "raw_1.tiff", true),
            ("raw_*.tiff", "raw_.tiff", true),
            ("raw_*.tiff", "dark_1.tiff", false),
            ("raw_*.tiff", "raw_1.tif", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*1*2", "0102", true),
            ("*1*2", "0120", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }
}
