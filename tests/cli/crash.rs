//! Killed at every system call that writes: what has its final name is whole, and the same command ends in the same bytes.

use crate::common::{Scratch, expect, npy, run};
use std::process::{Command, Stdio};

/// Calls that change what is on disk.
const CALLS: &str = "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,ftruncate,fallocate,unlink,unlinkat";
/// More calls of one kind than this small job can make.
const MOST: usize = 400;

#[test]
fn killed_at_every_write_it_leaves_old_or_new_and_goes_on() {
    if !Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    {
        eprintln!("SKIPPED: no strace here");
        return;
    }
    let folder = Scratch::new("strace");
    let values: Vec<f32> = (0..20 * 3 * 24).map(|i| 0.5 + ((i * 37) % 91) as f32 / 182.0).collect();
    folder.write("p.npy", npy(&[20, 3, 24], &values));
    let theta: String = (0..20).map(|i| format!("{}\n", 9 * i)).collect();
    folder.write("t.txt", theta);
    let job = "recon p.npy --input transmission --theta t.txt --theta-unit deg --center 11.5 --threads 1 --stripe sf \
               --energy 20keV --distance 1mm --delta-beta 20 --pixel 2um -q";
    expect(&run(&folder.0, &format!("{job} -o out/whole")), 0, &[], job);
    let whole = std::fs::read(folder.0.join("out/whole.raw")).unwrap();
    let mut points = 0;
    for call in CALLS.split(',') {
        for k in 1..MOST {
            let status = Command::new("strace")
                .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
                .args(["-e", &format!("inject={call}:signal=KILL:when={k}")])
                .arg(env!("CARGO_BIN_EXE_tomolith"))
                .args(job.split_whitespace())
                .args(["-o", "out/x"])
                .current_dir(&folder.0)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            if points == 0
                && !status.success()
                && !folder
                    .0
                    .join("out")
                    .read_dir()
                    .unwrap()
                    .any(|e| e.unwrap().file_name().to_string_lossy().starts_with("x."))
                && k == 1
                && status.code() == Some(1)
            {
                eprintln!("SKIPPED: strace may not trace here");
                return;
            }
            // What has its final name is whole.
            if folder.0.join("out/x.raw").exists() {
                assert_eq!(std::fs::read(folder.0.join("out/x.raw")).unwrap(), whole, "{call} {k}");
            }
            let done = folder.0.join("out/x.json").exists();
            if done {
                expect(&run(&folder.0, "verify out/x.json"), 0, &["ok"], &format!("{call} {k}"));
            } else {
                expect(&run(&folder.0, &format!("{job} -o out/x")), 0, &[], &format!("after {call} {k}"));
                assert_eq!(std::fs::read(folder.0.join("out/x.raw")).unwrap(), whole, "after {call} {k}");
                points += 1;
            }
            for entry in std::fs::read_dir(folder.0.join("out")).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_string_lossy().starts_with("x.") {
                    std::fs::remove_file(path).unwrap();
                }
            }
            if status.success() {
                break;
            }
        }
    }
    eprintln!("{points} places of death");
    assert!(points > 60, "{points} places of death");
}
