//! Bytes as a file whose extension is the target's name, through all that the library makes of such a file. Only that it
//! comes back matters. Those of `pkl` are the pickle in a PyTorch archive, which checksums would keep from most changes.
#![no_main]

use tomolith::cli::{COMMANDS, GLOBAL, config::Config};
use tomolith::error::Result;
use tomolith::exchange::{IoMode, open_scan, open_stack, open_vector};
use tomolith::nn::weights;
use tomolith::volume::{Source, manifest::Manifest, reader::Reader};

const KIND: &str = env!("CARGO_BIN_NAME");
/// Voxels that are read.
const MOST: usize = 1 << 16;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("tomolith-fuzz-{}.{KIND}", std::process::id()));
    let whole = if KIND == "pkl" { archive(bytes) } else { bytes.to_vec() };
    std::fs::write(&path, whole).expect("a folder for temporary files");
    match KIND {
        "toml" => drop(Config::read(&path, GLOBAL, COMMANDS, &COMMANDS[0])),
        "json" => drop(Manifest::read(&path)),
        "txt" => drop(open_vector(&path)),
        "safetensors" | "pt" | "pkl" => drop(weights::read(&path)),
        "mhd" | "nhdr" => read(Reader::open(&path, IoMode::Mmap).map(|r| Box::new(r) as _)),
        _ => {
            read(open_stack(&path, IoMode::Pread));
            if let Ok(scan) = open_scan(&path, IoMode::Pread) {
                [Some(scan.projections), scan.flats, scan.darks].into_iter().flatten().for_each(|s| read(Ok(s)));
            }
        }
    }
});

fn read(source: Result<Box<dyn Source>>) {
    let Ok(source) = source else { return };
    let d = source.dims();
    if d.voxels() < MOST {
        let _ = source.read(0..d.nz, 0..d.ny, &mut vec![0.0; d.voxels()]);
    }
    let _ = source.cost(0..1, 0..1);
}

/// An archive of a pickle and one storage, checksums switched off.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in [("a/data.pkl", pickle), ("a/data/0", &[1; 64][..])] {
        let length = (data.len() as u32).to_le_bytes();
        let fields = [&[0; 4][..], &length, &length, &[name.len() as u8, 0, 0, 0]].concat();
        let place = (file.len() as u32).to_le_bytes();
        directory.extend([b"PK\x01\x02", &[0; 12][..], &fields, &[0; 10], &place, name.as_bytes()].concat());
        file.extend([b"PK\x03\x04", &[0; 10][..], &fields, name.as_bytes(), data].concat());
    }
    let [size, place] = [directory.len(), file.len()].map(|n| (n as u32).to_le_bytes());
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0\x02\0\x02\0", &size, &place, &[0; 2]].concat()
}
