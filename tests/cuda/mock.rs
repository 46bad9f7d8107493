//! Builds the emulation's test and the mock driver with the C++ compiler of the machine.
#![allow(dead_code)] // Two programs of tests share it, and neither uses all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The top of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A kernel: the file that defines it, its name, the most threads of a block.
pub struct Entry {
    pub file: String,
    pub name: String,
    pub threads: u32,
}

/// Every `KERNEL(threads) name(` of `kernels/*.cu`.
pub fn entries() -> Vec<Entry> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("kernels")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "cu"));
    files.sort();
    let mut entries = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.file_stem().unwrap().to_str().unwrap().to_string();
        for line in text.lines().filter_map(|l| l.strip_prefix("KERNEL(")) {
            let (threads, rest) = line.split_once(") ").expect("KERNEL(threads) name(");
            let name = rest.split('(').next().unwrap().to_string();
            entries.push(Entry { file: file.clone(), name, threads: threads.parse().unwrap() });
        }
    }
    assert!(entries.len() > 15, "the kernels were not found");
    entries
}

/// What several files of kernels include.
const SHARED: [&str; 5] = ["conv.cuh", "dropout.cu", "elementary.cuh", "fast.cuh", "uncertainty.cuh"];

/// Where a built thing goes.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Makes a file that is whole whenever it is seen: programs of tests build the same things side by side, and use them.
fn make(path: &Path, write: impl FnOnce(&Path)) {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let new = path.with_extension(format!("{}-{number}", std::process::id()));
    write(&new);
    fs::rename(&new, path).unwrap();
}

/// Writes such a file.
fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    make(path, |new| fs::write(new, bytes).unwrap());
}

/// Runs the compiler; without one the test fails, because it would show nothing.
fn compile(source: &str, output: &Path, more: &[&str]) {
    make(output, |new| compile_to(source, new, more));
}

fn compile_to(source: &str, output: &Path, more: &[&str]) {
    // The bits of a strict kernel: no contraction; hardware multiply-add, which x86-64-v3 has.
    let mut command = Command::new("g++");
    command.args([
        "-std=c++20",
        "-O2",
        "-march=x86-64-v3",
        "-ffp-contract=off",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unknown-pragmas",
    ]);
    command.arg("-I").arg(root().join("kernels")).arg("-I").arg(root().join("tests/cuda")).args(more);
    command.arg(root().join("tests/cuda").join(source)).arg("-o").arg(output);
    let done = command.output().expect("g++ is needed to test the CUDA kernels: install it");
    assert!(done.status.success(), "{source}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The program that tests the emulation.
pub fn emulation_test() -> PathBuf {
    let to = folder("emulation").join("emulation_test");
    compile("emulation_test.cpp", &to, &[]);
    to
}

/// The program that tests fast kernels, and its variants: each kernel as it is, and with each barrier taken away and each
/// wait for a copy put off in turn.
pub fn fast_test() -> (PathBuf, Vec<String>) {
    let folder = folder("fast");
    let (mut spaces, mut table, mut names) = (String::new(), String::new(), Vec::new());
    for (file, test) in [("fast_conv", "CONV"), ("fast_weight_gradient", "GRADIENT"), ("fast_batchnorm", "MOMENTS")] {
        let text = fs::read_to_string(root().join(format!("kernels/{file}.cu"))).unwrap();
        let mut variants = vec![(file.to_string(), text.clone())];
        let planted =
            [("barrier", "__syncthreads();", ""), ("wait", "cp_wait<STAGES - 2>();", "cp_wait<STAGES - 1>();")];
        for (what, old, new) in planted {
            for (k, (at, _)) in text.match_indices(old).enumerate() {
                let changed = format!("{}{new}{}", &text[..at], &text[at + old.len()..]);
                variants.push((format!("{file}_{what}_{k}"), changed));
            }
        }
        for (name, text) in variants {
            spaces += &format!("namespace {name} {{\n{text}\n}}\n");
            table += &format!("VARIANT(\"{name}\", {name}, {test})\n");
            names.push(name);
        }
    }
    put(&folder.join("planted.inc"), spaces);
    put(&folder.join("variants.inc"), table);
    let to = folder.join("fast_test");
    compile("fast_test.cpp", &to, &[&format!("-I{}", folder.display())]);
    (to, names)
}

/// The folder of a `libcuda.so.1` that runs every kernel of `kernels`, with the address sanitizer or without.
pub fn driver(sanitized: bool) -> PathBuf {
    // Tests run side by side, and each library is built once.
    static BUILT: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    BUILT[usize::from(sanitized)].get_or_init(|| build_driver(sanitized)).clone()
}

fn build_driver(sanitized: bool) -> PathBuf {
    let folder = folder(if sanitized { "mock-sanitized" } else { "mock" });
    let entries = entries();
    let mut files: Vec<&str> = entries.iter().map(|e| e.file.as_str()).collect();
    files.dedup();
    let spaces: Vec<String> = files.iter().map(|f| format!("namespace of_{f} {{\n#include \"{f}.cu\"\n}}\n")).collect();
    // What they include by themselves belongs to no namespace.
    let shared = SHARED.map(|file| format!("#include \"{file}\"\n"));
    put(&folder.join("kernels.inc"), shared.concat() + &spaces.concat());
    let table: Vec<String> =
        entries.iter().map(|e| format!("ENTRY(of_{}, {}, {})\n", e.file, e.name, e.threads)).collect();
    put(&folder.join("table.inc"), table.concat());
    let include = format!("-I{}", folder.display());
    let mut more = vec!["-shared", "-fPIC", "-fvisibility=hidden", &include];
    if sanitized {
        more.extend(["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g"]);
    }
    compile("mock_driver.cpp", &folder.join("libcuda.so.1"), &more);
    link(&folder);
    folder
}

/// The name that is looked for first is the same library.
fn link(folder: &Path) {
    let link = folder.join("libcuda.so");
    match std::os::unix::fs::symlink("libcuda.so.1", &link) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => panic!("{}: {e}", link.display()),
        _ => (),
    }
}

/// The address sanitizer's library, which a program that is not sanitized must load first.
pub fn sanitizer() -> PathBuf {
    let said = Command::new("g++").arg("-print-file-name=libasan.so").output().expect("g++ is needed");
    let path = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
    assert!(path.is_absolute(), "g++ has no address sanitizer: install it");
    path
}

/// The folder of a driver that lacks an entry point.
pub fn old_driver() -> PathBuf {
    let folder = folder("mock-old");
    let source = folder.join("old.cpp");
    let names: Vec<String> = entry_points().into_iter().filter(|n| n != "cuEventElapsedTime").collect();
    let text: String = names.iter().map(|n| format!("extern \"C\" int {n}() {{ return 999; }}\n")).collect();
    put(&source, text);
    compile(source.to_str().unwrap(), &folder.join("libcuda.so.1"), &["-shared", "-fPIC"]);
    link(&folder);
    folder
}

/// The folder of the mock driver under whose symbols one has another name.
pub fn without(entry: &str) -> PathBuf {
    let folder = folder(&format!("mock-without-{entry}"));
    let mut library = fs::read(driver(false).join("libcuda.so.1")).unwrap();
    let name = format!("\0{entry}\0");
    let places: Vec<usize> =
        (0..library.len() - name.len()).filter(|&at| library[at..].starts_with(name.as_bytes())).collect();
    assert!(!places.is_empty(), "{entry} is no symbol");
    places.into_iter().for_each(|at| library[at + 1] = b'-');
    put(&folder.join("libcuda.so.1"), library);
    link(&folder);
    folder
}

/// The entry points of the mock driver.
pub fn entry_points() -> Vec<String> {
    let text = fs::read_to_string(root().join("tests/cuda/mock_driver.cpp")).unwrap();
    let names = text.lines().filter_map(|l| l.strip_prefix("ENTRY_POINT("));
    names.filter_map(|l| l.split([',', ')']).next()).map(str::to_string).collect()
}
