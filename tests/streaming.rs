//! One pass over a labelled volume of the paper's size, 2.7 Gvoxel, from a cold cache: how fast, beside plain reading of the
//! same file on the same day, and how much is held.

mod common;
use common::Scratch;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Instant;
use tomolith::analysis::between::lost;
use tomolith::analysis::columns::Columns;
use tomolith::analysis::labels::Labels;
use tomolith::segment::classes::{Classes, Mapping};
use tomolith::segment::orient::Axes;
use tomolith::units::Micrometre;
use tomolith::volume::reader::{IoMode, Reader};

const DIMS: [usize; 3] = [1707, 698, 2280];
/// Voxels by which the first layer of the second volume is thinner.
const LESS: i64 = 7;
/// Disks of shared machines are fast now and slow then: what is compared is measured in turns.
const ROUNDS: usize = 5;

/// Layers of a cell with rough faces and grains: runs along every axis as in labels, not noise. The first layer is thinner by
/// `less` voxels, and the second one thicker.
fn write(path: &Path, less: i64) {
    let [nx, ny, nz] = DIMS;
    let mut file = File::create(path.with_extension("raw")).unwrap();
    let wave = |a: usize, b: usize| (((a * 2_654_435_761) >> 7 ^ (b * 40_503) >> 3) % 9) as i64 - 4;
    let mut slice = vec![0u8; nx * ny];
    for z in 0..nz {
        for x in 0..nx {
            let rough = wave(x / 11, z / 7) + wave(x / 37, z / 53) * 2;
            let faces = [0, 160 + rough - less, 185 + 2 * rough, 200 + rough, 500, 520 - rough, 690]
                .map(|f| f.clamp(0, ny as i64) as usize);
            for (class, f) in [4u8, 3, 1, 0, 5, 6].into_iter().zip(faces.windows(2)) {
                (f[0]..f[1].max(f[0])).for_each(|y| slice[y * nx + x] = class);
            }
        }
        file.write_all(&slice).unwrap();
    }
    file.sync_all().unwrap();
    let header = format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n\
         DimSize = {nx} {ny} {nz}\nElementType = MET_UCHAR\nElementDataFile = {}\n",
        path.with_extension("raw").file_name().unwrap().to_string_lossy()
    );
    std::fs::write(path, header).unwrap();
}

/// Lets the kernel forget what it holds of files: a rate from memory says nothing of a disk.
fn forget() {
    std::fs::write("/proc/sys/vm/drop_caches", "1").expect("a cold cache: run as one who may write drop_caches");
}

/// Bytes per second of reading files one after the other from a cold cache.
fn plainly(files: &[std::path::PathBuf]) -> f64 {
    forget();
    let (start, mut block, mut bytes) = (Instant::now(), vec![0u8; 8 << 20], 0);
    for path in files {
        let mut file = File::open(path).unwrap();
        loop {
            match file.read(&mut block).unwrap() {
                0 => break,
                n => bytes += n,
            }
        }
    }
    bytes as f64 / start.elapsed().as_secs_f64()
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let field = |k: usize| after.split_whitespace().nth(k).unwrap().parse::<f64>().unwrap();
    (field(11) + field(12)) / 100.0
}

#[test]
#[ignore = "5.4 GB on the disk; alone on the machine"]
fn a_pass_over_a_volume_of_the_papers_size_keeps_up_with_the_disk() {
    let folder = Scratch::new("streaming");
    let [path, later] = ["full.mhd", "later.mhd"].map(|name| folder.0.join(name));
    write(&path, 0);
    write(&later, LESS);
    let raw = [&path, &later].map(|p| p.with_extension("raw"));
    let bytes = std::fs::metadata(&raw[0]).unwrap().len() as f64;
    let mapping = Mapping::parse("from-0", &Classes::cell()).unwrap();
    let [labels, later] = [&path, &later].map(|path| {
        let source = Box::new(Reader::open(path, IoMode::Pread).unwrap());
        Labels::new("full", source, Axes::NATIVE, None, Some(Micrometre(1.33)), (&mapping, 7)).unwrap()
    });
    let lost_voxels = LESS as u64 * (DIMS[0] * DIMS[2]) as u64;
    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let plain = [plainly(&raw[..1]), plainly(&raw)];
        forget();
        let (start, before) = (Instant::now(), cpu_seconds());
        let columns = Columns::of(&labels, 7).unwrap();
        let (pass, cpu) = (bytes / start.elapsed().as_secs_f64(), cpu_seconds() - before);
        forget();
        let (start, before) = (Instant::now(), cpu_seconds());
        let voids = lost(&labels, 4, &later, &[4]).unwrap();
        let (both, voids_cpu) = (2.0 * bytes / start.elapsed().as_secs_f64(), cpu_seconds() - before);
        assert_eq!(columns.voxels.iter().sum::<u64>() as f64, bytes);
        assert_eq!(voids.iter().map(|n| u64::from(*n)).sum::<u64>(), lost_voxels, "what the first layer is thinner by");
        println!(
            "one volume: plain reading {:.2} GB/s, counts and maps {:.2} GB/s, {cpu:.1} CPU s; \
             two: plain reading {:.2} GB/s, voids {:.2} GB/s, {voids_cpu:.1} CPU s",
            plain[0] / 1e9,
            pass / 1e9,
            plain[1] / 1e9,
            both / 1e9
        );
        ratios[0].push(pass / plain[0]);
        // Two files after each other are read at another rate than one: the voids keep up with the better.
        ratios[1].push(both / plain[0].max(plain[1]));
    }
    let held = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak: f64 =
        held.lines().find(|l| l.starts_with("VmHWM")).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    let [counts, voids] = ratios.map(|mut of| {
        of.sort_by(f64::total_cmp);
        of[ROUNDS / 2]
    });
    println!("of plain reading (medians): counts {counts:.2}, voids {voids:.2}; {:.2} GiB held", peak / 1048576.0);
    assert!(peak < 4.0 * 1048576.0);
    assert!(counts >= 0.7, "counts and maps: {counts:.2} of the disk's rate");
    assert!(voids >= 0.7, "voids: {voids:.2} of the disk's rate");
}
