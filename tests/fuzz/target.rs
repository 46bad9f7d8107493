//! Bytes as a file whose extension is the target's name, through all that the library makes of such a file. Only that it
//! comes back matters.
#![no_main]

use tomolith::cli::{COMMANDS, GLOBAL, config::Config};
use tomolith::error::Result;
use tomolith::exchange::{IoMode, open_scan, open_stack, open_vector};
use tomolith::volume::{Source, manifest::Manifest, reader::Reader};

const KIND: &str = env!("CARGO_BIN_NAME");
/// Voxels that are read.
const MOST: usize = 1 << 16;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("tomolith-fuzz-{}.{KIND}", std::process::id()));
    std::fs::write(&path, bytes).expect("a folder for temporary files");
    match KIND {
        "toml" => drop(Config::read(&path, GLOBAL, COMMANDS, &COMMANDS[0])),
        "json" => drop(Manifest::read(&path)),
        "txt" => drop(open_vector(&path)),
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
