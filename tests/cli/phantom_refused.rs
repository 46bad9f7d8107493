//! Synthetic specimens that cannot be made: refused with the flag's name before anything is written, and nothing is left.

use crate::common::{Scratch, expect, run, stderr, tomolith};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn what_cannot_be_made_is_refused_before_anything_is_written() {
    let s = Scratch::new("phantom-refused");
    for (words, code, says) in [
        ("--preset tyni", 2, "did you mean 'tiny'"),
        ("--mode radiograph", 2, "did you mean 'radiographs'"),
        ("--steps 0", 2, "steps"),
        ("--steps 26", 2, "25"),
        ("--only 25", 2, "24"),
        ("--only 3,x", 2, "x"),
        ("--only 3 --steps 4", 2, "--only"),
        ("--mode radiographs --dose 0", 2, "dose"),
        ("--mode radiographs --dose -1", 2, "dose"),
        ("--mode radiographs --projections 0", 2, "projections"),
        ("--mode radiographs --columns 100", 2, "columns"),
        ("--mode radiographs --fields 9", 2, "fields"),
        ("--mode radiographs --fields 5", 2, "rows apart"),
        ("--mode volume --cnr 0", 2, "--cnr"),
        ("--mode volume --blur -1", 2, "blur"),
        ("--efficiency 2", 2, "efficiency"),
        ("--efficiency 0.1", 2, "efficiency"),
        ("--dead 1000", 2, "dead"),
        ("--blind --dead 1", 2, "--blind"),
        ("--motion-seed 1", 2, "--motion-seed"),
        ("--seed -1", 2, "seed"),
        ("--mode volume --shift -1", 2, "--shift"),
        ("--mode volume --tilt -1", 2, "--tilt"),
        ("--mode volume --turn 1e9", 2, "--turn"),
        ("--mode volume --warp 80", 2, "--warp"),
        ("--mode volume --warp 15", 2, "a warp of"),
        ("--mode volume --relative 9", 2, "--relative"),
        ("--mode radiographs --scan-drift 1e5", 2, "--scan-drift"),
        ("--mode radiographs --projections 1", 2, "--projections"),
        ("--mode radiographs --dose 1e10", 2, "--dose"),
        ("--mode radiographs --dead-pixels 99999999999", 2, "--dead-pixels"),
        ("--mode radiographs-phase --distance 200m", 2, "--distance"),
        ("--mode radiographs-phase --bandwidth 0.7", 2, "--bandwidth"),
        ("--mode radiographs-phase --bandwidth -0.1", 2, "--bandwidth"),
        // Cells of 32768 x 32768 lanes: 275 GB.
        ("--mode radiographs --columns 16384 --projections 2 --only 0", 2, "of memory at its peak"),
        // What means nothing beside the rest.
        ("--dose 7 --shift 5", 2, "--shift: means nothing with --mode labels"),
        ("--mode volume --columns 400", 2, "--columns: means nothing with --mode volume"),
        ("--mode radiographs --cnr 3", 2, "--cnr"),
        ("--mode volume --still --shift 9", 2, "--still"),
        ("--annotate none --boundary 99", 2, "--boundary"),
        // 2 * 65536 * 2280 * 3000 bytes and more, 25 times.
        ("--preset full --mode radiographs --projections 65536 --columns 3000", 74, "TB and the disk has"),
    ] {
        let output = run(&s.0, &format!("phantom cell -o no {words}"));
        expect(&output, code, &[says], words);
        assert!(!s.0.join("no").exists(), "{words} left a folder");
    }
    expect(&run(&s.0, "phantom cell"), 2, &["--output"], "no folder");
    std::fs::create_dir(s.0.join("mine")).unwrap();
    s.write("mine/notes.txt", "keep");
    expect(&run(&s.0, "phantom cell -o mine"), 73, &["something else"], "somebody's folder");
    s.write("file", "keep");
    assert_ne!(run(&s.0, "phantom cell -o file").status.code(), Some(0));
    assert_eq!(std::fs::read_dir(s.0.join("mine")).unwrap().count(), 1);
}

#[test]
fn discs_that_cannot_be_made_leave_nothing() {
    let s = Scratch::new("phantom-discs-refused");
    for (words, codes) in [
        ("--columns 18446744073709551615", [2, 2]),
        ("--rows 99999999", [2, 2]),
        ("--projections 1", [2, 2]),
        ("--discs 4000", [2, 2]),
        ("--columns 65536 --rows 4 --projections 2", [2, 74]),
        ("--columns 60000 --rows 60000 --projections 60000", [74, 74]),
    ] {
        let output = run(&s.0, &format!("phantom discs -o no {words}"));
        let code = output.status.code().unwrap();
        assert!(codes.contains(&code), "{words}: {code} {}", stderr(&output));
        assert!(!s.0.join("no").exists(), "{words} left a folder");
    }
    // Millions of counts: half a second is in their midst.
    let words = "phantom discs -o cut --columns 128 --rows 2000 --projections 300";
    let child = tomolith(&s.0).args(words.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let begin = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(begin.elapsed() < Duration::from_secs(5) && !s.0.join("cut").exists());
}
